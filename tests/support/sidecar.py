"""Runs the sidecar as a process of its own, as its users do: ``reducto serve`` with a configuration file."""

import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.support.process import Daemon, answers, free_port


class Sidecar:
    """``with Sidecar(folder, upstream_url) as sidecar``: the registry API is at ``sidecar.host``.

    ``settings`` is merged over the configuration. ``listen.address`` may be an address in a network namespace that
    ``enter`` leads to.
    """

    def __init__(
        self,
        folder: Path,
        upstream: str,
        settings: dict[str, Any] | None = None,
        address: str = "127.0.0.1",
        enter: list[str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        data_port, control_port = free_port(), free_port()
        self.host, self.control = f"{address}:{data_port}", f"{address}:{control_port}"
        config: dict[str, Any] = {
            "listen": {"address": address, "data_port": data_port, "control_port": control_port},
            "upstream": {"url": upstream},
            "spool": {"dir": str(folder / "spool")},
            "cache": {"dir": str(folder / "cache")},
            "corpus": {"cache_dir": str(folder / "corpora")},
        }
        for section, values in (settings or {}).items():
            if isinstance(values, dict):
                config.setdefault(section, {}).update(values)
            else:
                config[section] = values
        file = folder / "sidecar.yaml"
        file.write_text(yaml.safe_dump(config))
        program = Path(sys.executable).with_name("reducto")
        argv = [*(enter or []), program, "serve", "--config", file]
        self.daemon = Daemon(argv, folder / "sidecar.log", answers(f"http://{self.host}/v2/"))

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def log(self) -> str:
        return self.daemon.log.read_text(errors="replace")

    def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics``, as name with labels -> value."""
        with urllib.request.urlopen(f"http://{self.control}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def memory_bytes(self) -> dict[str, int]:
        """Resident bytes: the peak, the present size, and the part of it that is no file page (mapped corpora)."""
        fields = {}
        for line in Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if value.strip().endswith("kB"):
                fields[name] = int(value.split()[0]) * 1024
        return {"peak": fields["VmHWM"], "now": fields["VmRSS"], "anonymous": fields["RssAnon"]}

    def __enter__(self) -> "Sidecar":
        self.daemon.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.daemon.stop()
