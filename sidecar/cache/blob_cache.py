"""Rebuilt blobs on disk, up to a limit. Any of it may be lost, damaged or left by an earlier process.

A blob here is one caller's pull and the next one's saved time, but not the next one's right: it is shown only to those
whose record names the very instructions that it was rebuilt from. A record that merely claims a digest, put into some
repository by whoever may push there, has to rebuild the blob itself. Instructions have a digest that nobody knows who
was not once shown the record.

    <folder>/<algorithm>/<hex>           the blob
    <folder>/<algorithm>/<hex>.recipes   digests of the instructions that rebuilt it, a line each
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from reducto.errors import UsageError
from reducto.files import move
from reducto.oci.transport import FileBody
from reducto.values import ByteRange, Digest
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload

#: Of one blob, those used longest ago are forgotten: their next pull rebuilds.
RECIPES_LIMIT = 256
_SUFFIX = ".recipes"


@dataclass(slots=True)
class _Entry:
    """A blob that this process has proved: what its file was then, and from which instructions, latest last."""

    length: int
    modified_ns: int
    recipes: dict[Digest, None]


class BlobCache:
    """The folder. One per process."""

    def __init__(self, folder: Path, max_bytes: int, offload: Offload, metrics: Metrics) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._offload = offload
        self._metrics = metrics
        self._entries: OrderedDict[Digest, _Entry] = OrderedDict()
        self._unproved: OrderedDict[Digest, int] = OrderedDict()
        """Lengths of files of an earlier process, those written longest ago first."""
        self._bytes = 0

    async def warm(self, digest: Digest, instructions: Digest) -> FileBody | None:
        """The whole blob, if these instructions rebuilt it and the file is still what was proved."""
        if digest in self._unproved:
            await self._prove_old(digest)
        entry = self._entries.get(digest)
        if entry is None or instructions not in entry.recipes:
            return None
        path = self._path(digest)
        try:
            state = await self._offload.io(os.stat, path)
        except FileNotFoundError:
            state = None
        if state is None or (state.st_size, state.st_mtime_ns) != (entry.length, entry.modified_ns):
            logs.event("cache-file-changed", digest=str(digest))
            await self._drop(digest)
            return None
        self._entries.move_to_end(digest)
        return FileBody(path, ByteRange(0, entry.length))

    def holds(self, digest: Digest) -> bool:
        """Whether there is a file of this blob, proved or not."""
        return digest in self._entries or digest in self._unproved

    async def keep(self, digest: Digest, instructions: Digest, file: Path) -> Path | None:
        """Takes over ``file``, which ``instructions`` rebuilt and whose digest was checked; returns its new place, None
        when there is no room for it."""
        known = self._entries.get(digest)
        recipes = known.recipes if known is not None else {}
        recipes.pop(instructions, None)
        recipes[instructions] = None
        while len(recipes) > RECIPES_LIMIT:
            del recipes[next(iter(recipes))]
        path = self._path(digest)
        try:
            state = await self._offload.io(_take, file, path, list(recipes))
        except OSError as error:
            logs.event("rebuild-not-cached", digest=str(digest), error=str(error)[:200])
            return None
        self._note(digest, state, recipes)
        await self._evict()
        return path

    async def clear(self) -> None:
        """Gives all its room away."""
        for digest in [*self._unproved, *self._entries]:
            await self._drop(digest)

    def restore(self) -> None:
        """Finds what an earlier process left. It is proved again before its first use. For a worker."""
        for path in sorted(self._folder.glob("sha*/*"), key=lambda path: path.stat().st_mtime_ns):
            if len(path.name) in (64, 128):
                self._unproved[Digest(path.parent.name, path.name)] = path.stat().st_size
            elif path.suffix != _SUFFIX or not path.with_suffix("").exists():
                path.unlink()  # what a killed process left of a copy
        self._bytes = sum(self._unproved.values())
        while self._bytes > self._max_bytes:
            digest, length = self._unproved.popitem(last=False)
            self._bytes -= length
            _remove(self._path(digest))
        self._metrics.cache_bytes.set(self._bytes)

    # -- inside

    def _note(self, digest: Digest, state: os.stat_result, recipes: dict[Digest, None]) -> None:
        old = self._entries.pop(digest, None)
        replaced = old.length if old is not None else self._unproved.pop(digest, 0)
        self._entries[digest] = _Entry(state.st_size, state.st_mtime_ns, recipes)
        self._bytes += state.st_size - replaced
        self._metrics.cache_bytes.set(self._bytes)

    async def _evict(self) -> None:
        while self._bytes > self._max_bytes and (self._unproved or len(self._entries) > 1):
            await self._drop(next(iter(self._unproved or self._entries)))
            self._metrics.cache_evictions.inc()

    async def _drop(self, digest: Digest) -> None:
        entry = self._entries.pop(digest, None)
        self._bytes -= entry.length if entry is not None else self._unproved.pop(digest, 0)
        self._metrics.cache_bytes.set(self._bytes)
        await self._offload.io(_remove, self._path(digest))

    async def _prove_old(self, digest: Digest) -> None:
        self._bytes -= self._unproved.pop(digest)
        path = self._path(digest)
        try:
            recipes = await self._offload.io(_proved, path, digest)
            if recipes:
                self._note(digest, await self._offload.io(os.stat, path), recipes)
                return
            logs.event("cache-file-damaged", digest=str(digest))
        except (OSError, UsageError) as error:
            logs.trouble("cache-file-unusable", error, digest=str(digest))
        await self._offload.io(_remove, path)

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest.algorithm / digest.hex


def _take(file: Path, path: Path, recipes: list[Digest]) -> os.stat_result:
    path.parent.mkdir(0o755, parents=True, exist_ok=True)
    path.with_suffix(_SUFFIX).write_text("".join(f"{recipe}\n" for recipe in recipes))
    move(file, path)
    return path.stat()


def _remove(path: Path) -> None:
    for each in (path.with_suffix(_SUFFIX), path):
        with contextlib.suppress(OSError):
            each.unlink()


def _proved(path: Path, digest: Digest) -> dict[Digest, None]:
    """What rebuilt the file, nothing when it is not the blob any more. Raises `OSError`, `UsageError`."""
    lines = path.with_suffix(_SUFFIX).read_text("ascii", "replace").splitlines()
    with open(path, "rb") as source:
        hasher = hashlib.file_digest(source, digest.algorithm)
    return {Digest.parse(line): None for line in lines} if hasher.hexdigest() == digest.hex else {}
