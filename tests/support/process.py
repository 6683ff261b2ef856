"""Starting real programs for a test, waiting until they answer, and stopping them without traces."""

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
    """A client exited with another code than expected; the message carries its command line and output."""


def run(
    *argv: str | Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    timeout_seconds: float = 600,
    with_errors: bool = False,
) -> str:
    """Run a program to its end and return what it wrote to standard output; ``env`` is added to ours.

    With ``with_errors`` what it wrote to standard error follows.
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
    """A server process in its own process group, ready once ``ready()`` says so, gone at the end of ``with``."""

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
        """Start it and return when it answers; ``CommandFailed`` with the end of its log when it does not."""
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
        """Ask it to end, kill its group if it does not; returns its exit code."""
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
        """``kill -9``, as a node that dies."""
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
    """A port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def listens(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """A ``ready`` check: somebody accepts connections on that port."""

    def check() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((host, port)) == 0

    return check


def answers(url: str) -> Callable[[], bool]:
    """A ``ready`` check: an HTTP answer of any status but 5xx comes back from ``url``."""

    def check() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    return check


#: Where ``.ci/install`` puts the programs that are in no Debian package. Found once: some tests move HOME.
TOOLS_FOLDER = Path(os.environ.get("REDUCTO_TOOLS") or Path.home() / ".cache" / "reducto-tools")


def find_tool(name: str) -> Path | None:
    """The program ``name``: from ``.ci/install``'s folder, else from the path; None where it is missing."""
    own = TOOLS_FOLDER / "bin" / name
    if own.exists():
        return own
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None
