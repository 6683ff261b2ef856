"""What `reducto serve` says once its ports are open: where to push, what it stands before, and where data lie."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from reducto.config import Config, LogFormat
from sidecar.runtime import logs


def announce(config: Config, data_port: int, control_port: int) -> None:
    """Writes one event to a JSON log, or a few lines for people to standard error."""
    scheme = "https" if config.listen.tls.certificate_file else "http"
    host = _reachable(config.listen.address)
    facts: dict[str, Any] = {
        "address": config.listen.address,
        "data_port": data_port,
        "control_port": control_port,
        "push_to": f"{host}:{data_port}",
        "registry_api": f"{scheme}://{host}:{data_port}/v2/",
        "control": f"{scheme}://{host}:{control_port}",
        "upstream": _shown(config.upstream.url),
        "cache_dir": str(config.cache.dir.expanduser()),
        "spool_dir": str(config.spool.dir.expanduser()),
    }
    if config.logging.format is LogFormat.JSON:
        logs.event("listening", **facts)
    else:
        print(_text(facts, is_registry=_is_registry(config.upstream.url)), file=sys.stderr, flush=True)


def _text(facts: dict[str, Any], *, is_registry: bool) -> str:
    upstream = facts["upstream"]
    before = f"the registry {upstream}, which holds all data" if is_registry else f"nothing: all data lie in {upstream}"
    return (
        f"Reducto serves the registry API at {facts['registry_api']}\n"
        f"  push to        {facts['push_to']}, for example: docker push {facts['push_to']}/team/app:v1\n"
        f"  stands before  {before}\n"
        f"  cache          {facts['cache_dir']}, which may be lost\n"
        f"  spool          {facts['spool_dir']}, for uploads that are under way\n"
        f"  control port   {facts['control']}/health/ready and {facts['control']}/metrics\n"
        "Ctrl-C ends it."
    )


def _reachable(address: str) -> str:
    """The name or address by which this machine reaches a port that listens on ``address``."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.is_unspecified or parsed.is_loopback:
        return "localhost"
    return f"[{address}]" if parsed.version == 6 else address


def _is_registry(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _shown(url: str) -> str:
    """The upstream without a user's name or password; a directory as an absolute path."""
    if not _is_registry(url):
        return str(Path(url).expanduser().absolute())
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
