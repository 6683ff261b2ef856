"""Commands that check, tidy or change what sidecars have stored in a registry."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from reducto.errors import Corrupt, UsageError
from sidecar.cli.options import add_upstream_option, parse_grace, with_upstream

if TYPE_CHECKING:
    from reducto.cli.context import Context
    from reducto.config import Config
    from reducto.oci.names import RepositoryName
    from sidecar.app import Sidecar


class _Maintenance:
    """The base of maintenance commands, which take repositories as arguments.

    `run` calls `work` for each repository, and prints a line for each item and the last line that `summary` gives.
    """

    def configure(self, parser: ArgumentParser) -> None:
        add_upstream_option(parser)
        parser.add_argument("repository", nargs="*", help="repositories; all that the catalog lists by default")
        self.add_options(parser)

    def add_options(self, parser: ArgumentParser) -> None:
        """Adds the options of this command."""

    async def work(self, sidecar: Sidecar, repository: RepositoryName, arguments: Namespace) -> list[Any]:
        """Does the work in one repository. Returns dataclasses, each of which describes one thing that was done."""
        raise NotImplementedError

    async def summary(self, sidecar: Sidecar, items: list[Any], arguments: Namespace) -> tuple[str, int]:
        """The last line of the output, and the exit code."""
        raise NotImplementedError

    def line(self, item: Any) -> str:
        """The line of the output for one item of `work`."""
        raise NotImplementedError

    def run(self, arguments: Namespace, context: Context) -> int:
        async def do(sidecar: Sidecar) -> int:
            from sidecar.maintenance.walk import repositories_of

            items: list[Any] = []
            for repository in await repositories_of(sidecar, arguments.repository):
                items += await self.work(sidecar, repository, arguments)
            last, code = await self.summary(sidecar, items, arguments)
            document = {"items": [dataclasses.asdict(item) for item in items], "summary": last}
            context.console.result(document, "\n".join([*map(self.line, items), last]))
            return code

        return _with_sidecar(with_upstream(context.config, arguments), do)


class Fsck(_Maintenance):
    """``reducto fsck``."""

    async def work(self, sidecar: Sidecar, repository: RepositoryName, arguments: Namespace) -> list[Any]:
        from sidecar.maintenance.fsck import check

        return list(await check(sidecar, repository))

    async def summary(self, sidecar: Sidecar, items: list[Any], arguments: Namespace) -> tuple[str, int]:
        broken = sum(bool(item.trouble) for item in items)
        return f"{len(items)} checked, {broken} broken", Corrupt.exit_code if broken else 0

    def line(self, item: Any) -> str:
        return f"{item.repository} {item.kind} {item.digest} {item.trouble or 'ok'}"


class Gc(_Maintenance):
    """``reducto gc``."""

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--grace", default="24h", help="how old a record must be (default 24h)")
        parser.add_argument("--untagged", action="store_true", help="also images that no tag, index or subject needs")
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")

    async def work(self, sidecar: Sidecar, repository: RepositoryName, arguments: Namespace) -> list[Any]:
        from sidecar.maintenance.gc import collect

        grace = parse_grace(arguments.grace)
        return await collect(sidecar, repository, grace, untagged=arguments.untagged, dry_run=arguments.dry_run)

    async def summary(self, sidecar: Sidecar, items: list[Any], arguments: Namespace) -> tuple[str, int]:
        from sidecar.maintenance.gc import sweep

        freed = await sweep(sidecar, parse_grace(arguments.grace), dry_run=arguments.dry_run)
        verb = "would be removed" if arguments.dry_run else "removed"
        return f"{len(items)} records and {freed} bytes {verb}", 0

    def line(self, item: Any) -> str:
        return f"{item.repository} {item.kind} record of {item.digest}"


class Rehydrate(_Maintenance):
    """``reducto rehydrate``."""

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--keep-records", action="store_true", help="leave records beside the plain images")

    async def work(self, sidecar: Sidecar, repository: RepositoryName, arguments: Namespace) -> list[Any]:
        from sidecar.maintenance.rehydrate import rehydrate

        return await rehydrate(sidecar, repository, keep_records=arguments.keep_records)

    async def summary(self, sidecar: Sidecar, items: list[Any], arguments: Namespace) -> tuple[str, int]:
        return f"{len(items)} manifests are plain again", 0

    def line(self, item: Any) -> str:
        return f"{item.repository} {item.digest}"


class Adopt(_Maintenance):
    """``reducto adopt``."""

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--keep-originals", action="store_true", help="leave the plain manifests in place")

    async def work(self, sidecar: Sidecar, repository: RepositoryName, arguments: Namespace) -> list[Any]:
        from sidecar.maintenance.adopt import adopt

        return [await adopt(sidecar, repository, keep_originals=arguments.keep_originals)]

    async def summary(self, sidecar: Sidecar, items: list[Any], arguments: Namespace) -> tuple[str, int]:
        return f"{sum(item.images for item in items)} images adopted", 0

    def line(self, item: Any) -> str:
        change = f"{item.wire_bytes} bytes became {item.stored_bytes}"
        return f"{item.repository}: {item.images} images, {item.layers} layers, {change}"


class Rewrap(_Maintenance):
    """``reducto keys rewrap``."""

    async def work(self, sidecar: Sidecar, repository: RepositoryName, arguments: Namespace) -> list[Any]:
        from sidecar.maintenance.rewrite import rewrap

        return [await rewrap(sidecar, repository)]

    async def summary(self, sidecar: Sidecar, items: list[Any], arguments: Namespace) -> tuple[str, int]:
        return f"{sum(item.records for item in items)} records are under the present keys", 0

    def line(self, item: Any) -> str:
        return f"{item.repository}: {item.records} records"


def _with_sidecar(config: Config, work: Callable[[Sidecar], Awaitable[int]]) -> int:
    """The exit code of ``work`` with a sidecar whose ports stay closed. Raises `UsageError` for missing rights."""
    import asyncio

    from reducto.oci.registry_errors import Refused
    from sidecar.app import build
    from sidecar.runtime import logs

    logs.configure("warning", config.logging.format)

    async def do() -> int:
        sidecar = await build(config)
        try:
            return await work(sidecar)
        finally:
            await sidecar.close()

    try:
        return asyncio.run(do())
    except Refused as refusal:
        raise UsageError(f"{refusal}; if it wants credentials, name them in upstream.credentials_file") from refusal
