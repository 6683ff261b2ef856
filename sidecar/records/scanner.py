"""Reads the records of a whole repository: one scan at a time, and none within 20 seconds after another began."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Protocol

from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName, Tag
from reducto.oci.registry_errors import Refused
from reducto.values import Digest
from sidecar.records.format import IndexRecord
from sidecar.records.memory import StoredRecord

_TAGS_LIMIT = 4096
_PARALLEL = 16
#: Children of indexes that one scan reads: far more than repositories have that people push to.
_CHILDREN_LIMIT = 16_384
_PAUSE_SECONDS = 20.0


class Scannable(Protocol):
    """What a scan needs of a repository that is bound to its caller."""

    name: RepositoryName

    def tags(self) -> AsyncIterator[str]: ...

    async def record(self, reference: Tag | Digest) -> StoredRecord | None: ...


class RecordScanner:
    """Scans repositories, and remembers when it scanned them and which of their tags it read. One per process."""

    def __init__(self) -> None:
        self._scans: dict[RepositoryName, tuple[float, asyncio.Task[None]]] = {}
        self._seen: set[tuple[RepositoryName, str]] = set()

    async def scan(self, repository: Scannable) -> None:
        """Reads the records that are not known yet; does nothing if that was done less than 20 seconds ago."""
        when, task = self._scans.get(repository.name, (0.0, None))
        if task is None or (task.done() and time.monotonic() - when > _PAUSE_SECONDS):
            task = asyncio.create_task(self._scan(repository))
            self._scans[repository.name] = (time.monotonic(), task)
        await asyncio.shield(task)

    async def _scan(self, repository: Scannable) -> None:
        slots = asyncio.Semaphore(_PARALLEL)
        children: set[Digest] = set()

        async def read(tag: str) -> None:
            async with slots:
                with contextlib.suppress(Refused, ReductoError, OSError):
                    await _read_deep(repository, Tag(tag), children)
                    self._seen.add((repository.name, tag))

        try:
            tags = [tag async for tag in repository.tags()]
        except (Refused, ReductoError, OSError, ValueError):
            return  # A caller who may not list the tags does without what a scan would find.
        unseen = [tag for tag in tags if (repository.name, tag) not in self._seen]
        await asyncio.gather(*(read(tag) for tag in unseen[-_TAGS_LIMIT:]))


async def _read_deep(repository: Scannable, tag: Tag, seen: set[Digest]) -> None:
    """Reads the record of a tag, and the records that index records name below it.

    ``seen`` are the children that this scan has read: each is read once, however many indexes name it, and the scan
    reads at most `_CHILDREN_LIMIT` of them.
    """
    waiting: list[Tag | Digest] = [tag]
    while waiting:
        found = await repository.record(waiting.pop())
        if found is None or not isinstance(found.record, IndexRecord):
            continue
        for child in found.record.children:
            if child.digest not in seen and len(seen) < _CHILDREN_LIMIT:
                seen.add(child.digest)
                waiting.append(child.digest)
