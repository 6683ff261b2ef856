"""Starts real registries on a free port: docker-registry 2.8, distribution 3 and zot."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.process import Daemon, answers, find_tool, free_port, run
from tests.support.token_server import TokenServer

#: Kind of registry -> the program that serves it.
PROGRAMS = {"docker-registry": "docker-registry", "distribution": "registry", "zot": "zot"}


@dataclass(frozen=True)
class Htpasswd:
    """Basic authentication with these users and passwords."""

    users: dict[str, str] = field(default_factory=lambda: {"alice": "wonderland"})

    def write(self, path: Path) -> None:
        for user, password in self.users.items():
            create = [] if path.exists() else ["-c"]
            run("htpasswd", "-bB", *create, path, user, password)


Auth = Htpasswd | TokenServer | None


@dataclass
class Registry:
    """A running registry. ``host`` is the part of a reference before the repository."""

    kind: str
    host: str
    storage: Path
    daemon: Daemon
    auth: Auth

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def stored_bytes(self) -> int:
        """The bytes of all files in the registry's storage, each inode counted once."""
        files = {}
        for path in self.storage.rglob("*"):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                files[status.st_ino] = status.st_size
        return sum(files.values())

    @property
    def log(self) -> str:
        return self.daemon.log.read_text(errors="replace")


def start_registry(
    kind: str,
    folder: Path,
    auth: Auth = None,
    address: str = "127.0.0.1",
    enter: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
) -> Registry:
    """Starts a registry, which ``registry.daemon.stop()`` stops.

    ``enter`` is a command prefix that runs the program elsewhere, such as in a network namespace in which ``address``
    lies. ``settings`` is merged over the program's configuration (storage limits, maintenance mode and the like).
    """
    program = find_tool(PROGRAMS[kind])
    if program is None:
        raise FileNotFoundError(f"{PROGRAMS[kind]} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    storage, port = folder / "storage", free_port()
    configure = _zot_config if kind == "zot" else _distribution_config
    config = configure(folder, storage, f"{address}:{port}", auth)
    _merge(config, settings or {})
    file = folder / ("config.json" if kind == "zot" else "config.yaml")
    file.write_text(json.dumps(config) if kind == "zot" else yaml.safe_dump(config))
    ready: Callable[[], bool] = answers(f"http://{address}:{port}/v2/")
    daemon = Daemon(
        [*enter, program, "serve", file], folder / f"{kind}.log", ready, env={"OTEL_TRACES_EXPORTER": "none"}
    )
    daemon.start()
    return Registry(kind, f"{address}:{port}", storage, daemon, auth)


def _distribution_config(folder: Path, storage: Path, address: str, auth: Auth) -> dict[str, Any]:
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": address, "secret": "tests-only", "relativeurls": True},
    }
    if isinstance(auth, Htpasswd):
        auth.write(folder / "htpasswd")
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    elif isinstance(auth, TokenServer):
        config["auth"] = {
            "token": {
                "realm": auth.realm,
                "service": auth.service,
                "issuer": auth.issuer,
                "rootcertbundle": str(auth.write_certificate(folder / "token.crt")),
            }
        }
    return config


def _zot_config(folder: Path, storage: Path, address: str, auth: Auth) -> dict[str, Any]:
    host, port = address.rsplit(":", 1)
    http: dict[str, Any] = {"address": host, "port": port, "compat": ["docker2s2"]}
    if isinstance(auth, Htpasswd):
        auth.write(folder / "htpasswd")
        http["auth"] = {"htpasswd": {"path": str(folder / "htpasswd")}}
    elif isinstance(auth, TokenServer):
        certificate = str(auth.write_certificate(folder / "token.crt"))
        http["auth"] = {"bearer": {"realm": auth.realm, "service": auth.service, "cert": certificate}}
    return {
        "distSpecVersion": "1.1.1",
        "storage": {"rootDirectory": str(storage), "dedupe": False, "gc": False},
        "http": http,
        "log": {"level": "info"},
    }


def collect_garbage(registry: Registry, *options: str) -> str:
    """Runs docker-registry's or distribution's own ``garbage-collect``, during which the registry is stopped."""
    program = find_tool(PROGRAMS[registry.kind])
    config = registry.storage.parent / "config.yaml"
    registry.daemon.stop()
    try:
        done = subprocess.run(
            [str(program), "garbage-collect", *options, str(config)], capture_output=True, text=True, check=True
        )
    finally:
        registry.daemon.start()
    return done.stdout


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
