"""A Docker engine for tests, with its own socket and data and without a bridge or packet filter.

Its containers use the host's network.
"""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.process import Daemon, find_tool, run


class DockerEngine:
    """A Docker engine that runs in a ``with`` block: ``engine.docker("pull", ref)``. It needs root.

    The engine chooses its storage driver itself (overlay2, or vfs where overlays cannot be mounted).
    """

    def __init__(
        self,
        folder: Path,
        insecure_registries: Sequence[str] = (),
        storage_driver: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        # A socket's path may have at most 108 bytes, and some temporary folders have longer paths.
        self._runtime = Path(tempfile.mkdtemp(prefix="rd-docker-", dir="/tmp"))
        self.socket = self._runtime / "docker.sock"
        self.config = folder / "client"
        self.config.mkdir(parents=True, exist_ok=True)
        daemon, self._client = find_tool("dockerd"), find_tool("docker")
        if daemon is None or self._client is None:
            raise FileNotFoundError("dockerd and docker are needed")
        argv: list[str | Path] = [
            daemon,
            "--data-root",
            folder / "data",
            "--exec-root",
            self._runtime / "exec",
            "--pidfile",
            self._runtime / "pid",
            "--host",
            f"unix://{self.socket}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]
        argv += [f"--insecure-registry={each}" for each in insecure_registries]
        argv += [f"--storage-driver={storage_driver}"] if storage_driver else []
        self.daemon = Daemon(argv, folder / "dockerd.log", self._answers, env=environment)

    def docker(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 1800) -> str:
        """Runs the docker client against this engine and returns its standard output."""
        return run(
            self._docker(), *arguments, env=self.client_environment, stdin=stdin, timeout_seconds=timeout_seconds
        )

    @property
    def client_environment(self) -> dict[str, str]:
        """Environment variables for a docker client: this engine, a login store of its own, and the classic builder."""
        return {
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.config),
            "DOCKER_BUILDKIT": "0",
        }

    def _docker(self) -> Path:
        assert self._client is not None
        return self._client

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        version = [str(self._docker()), "version", "--format", "{{.Server.Version}}"]
        environment = {**os.environ, **self.client_environment}
        return subprocess.run(version, env=environment, capture_output=True).returncode == 0

    def __enter__(self) -> Self:
        self.daemon.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.daemon.stop()
        for mounted in _mounts_below(self._runtime) + _mounts_below(self.folder):
            subprocess.run(["umount", "--lazy", mounted], capture_output=True)
        subprocess.run(["rm", "-rf", "--one-file-system", str(self._runtime)])


def _mounts_below(folder: Path) -> list[str]:
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((point for point in points if Path(point).is_relative_to(folder)), reverse=True)
