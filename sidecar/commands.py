"""The sidecar's commands: `reducto serve` and the maintenance of what it stored."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from reducto.errors import UsageError

if TYPE_CHECKING:
    from reducto.cli.context import Context
    from reducto.config import Config


class Serve:
    """``reducto serve``."""

    def configure(self, parser: ArgumentParser) -> None:
        add_upstream_option(parser)
        parser.add_argument("--listen", metavar="HOST:PORT", help="where the registry API listens (0.0.0.0:5000)")
        parser.add_argument("--control-port", type=int, metavar="PORT", help="port of health and metrics (9090)")

    def run(self, arguments: Namespace, context: Context) -> int:
        from sidecar.serve import run

        config = with_upstream(context.config, arguments)
        listen = config.listen
        if arguments.listen:
            host, port = parse_listen(arguments.listen)
            listen = dataclasses.replace(listen, address=host or listen.address, data_port=port)
        if arguments.control_port is not None:
            listen = dataclasses.replace(listen, control_port=arguments.control_port)
        return run(dataclasses.replace(config, listen=listen))


def add_upstream_option(parser: ArgumentParser) -> None:
    """``--upstream``, which every command of this package takes."""
    parser.add_argument(
        "--upstream", metavar="URL|DIR", help="the registry, or a directory for the embedded store (upstream.url)"
    )


def with_upstream(config: Config, arguments: Namespace) -> Config:
    """The configuration with the upstream that the command line names."""
    if not arguments.upstream:
        return config
    return dataclasses.replace(config, upstream=dataclasses.replace(config.upstream, url=arguments.upstream))


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``, ``[v6]:port`` or ``:port``. Raises `UsageError`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen {text!r} is not host:port")
    return host.strip("[]"), int(port)
