"""Options that several of the sidecar's commands take."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from reducto.errors import UsageError

if TYPE_CHECKING:
    from reducto.config import Config


def add_upstream_option(parser: ArgumentParser) -> None:
    """Adds ``--upstream``."""
    parser.add_argument(
        "--upstream", metavar="URL|DIR", help="the registry, or a directory for the embedded store (upstream.url)"
    )


def with_upstream(config: Config, arguments: Namespace) -> Config:
    """The configuration with the upstream that ``--upstream`` names, if it was given."""
    if not arguments.upstream:
        return config
    return dataclasses.replace(config, upstream=dataclasses.replace(config.upstream, url=arguments.upstream))


def parse_listen(text: str) -> tuple[str, int]:
    """The host (may be empty) and port of ``host:port``, ``[v6]:port`` or ``:port``. Raises `UsageError`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen {text!r} is not host:port")
    return host.strip("[]"), int(port)


def parse_grace(text: str) -> float:
    """The seconds of a duration such as ``24h``. Raises `UsageError`."""
    from reducto.config.fields import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"--grace {text!r} {error}") from error
