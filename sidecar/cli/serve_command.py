"""``reducto serve`` and ``reducto demo``."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from sidecar.cli.options import add_upstream_option, parse_listen, with_upstream

if TYPE_CHECKING:
    from reducto.cli.context import Context


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


class Demo:
    """``reducto demo``."""

    def configure(self, parser: ArgumentParser) -> None:
        """Adds nothing: the command has no options."""

    def run(self, arguments: Namespace, context: Context) -> int:
        import asyncio

        from sidecar.cli.demo import demo

        document, text = asyncio.run(demo())
        context.console.result(document, text)
        return 0
