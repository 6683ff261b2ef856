"""Starts real programs for a test, waits until they answer, and stops them so that nothing of them is left."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class CommandFailed(RuntimeError):
    """A program exited with an unexpected code. The message holds its command line and output."""


def run(
    *argv: str | Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    timeout_seconds: float = 600,
    with_errors: bool = False,
) -> str:
    """Runs a program to its end and returns its standard output. ``env`` is added to the environment.

    With ``with_errors`` its standard error is appended. Raises `CommandFailed` for an unexpected exit code.
    """
    done = subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=timeout_seconds,
    )
    if done.returncode != 0:
        output = (done.stdout + done.stderr).decode(errors="replace")
        raise CommandFailed(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{output[-4000:]}")
    output = done.stdout + done.stderr if with_errors else done.stdout
    return output.decode(errors="replace")


class Daemon:
    """A server process in its own process group. It runs from ``ready()`` returning true to the end of ``with``."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        start_seconds: float = 60,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        self._ready = ready
        self._env = {**os.environ, **(env or {})}
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Starts the server and returns when it answers. Raises `CommandFailed`, with the end of its log, otherwise."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_seconds
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise CommandFailed(f"{self.argv[0]} did not start:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM, within_seconds: float = 20) -> int | None:
        """Asks the server to end, kills its process group if it does not, and returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            os.killpg(process.pid, how)
            return process.wait(within_seconds)
        except ProcessLookupError:
            return process.wait()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def kill(self) -> None:
        """Kills the server with SIGKILL, as when its node dies."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def listens(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """A ``ready`` check that tells whether a server accepts connections on that port."""

    def check() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((host, port)) == 0

    return check


def answers(url: str) -> Callable[[], bool]:
    """A ``ready`` check that tells whether ``url`` answers over HTTP with a status below 500."""

    def check() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    return check


#: Where ``.ci/install`` puts programs that no Debian package holds. It is found once, because some tests change HOME.
TOOLS_FOLDER = Path(os.environ.get("REDUCTO_TOOLS") or Path.home() / ".cache" / "reducto-tools")


def find_tool(name: str) -> Path | None:
    """The path of the program ``name`` in ``.ci/install``'s folder or else in PATH; None if it is not installed."""
    own = TOOLS_FOLDER / "bin" / name
    if own.exists():
        return own
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None
