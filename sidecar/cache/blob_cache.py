"""Rebuilt blobs on the local disk, up to a limit. A file may be lost or damaged, or come from an earlier process.

A cached blob grants no access. It is served only to a caller whose record names instructions from which the blob was
rebuilt before, and only a caller who has read such a record knows their digest. A forged record, which anybody who may
push can put into a repository of his own, names other instructions, so its blob is rebuilt and checked first.

    <folder>/<algorithm>/<hex>           the blob
    <folder>/<algorithm>/<hex>.recipes   the digests of the instructions from which it was rebuilt, one per line
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

#: The instructions that are remembered for one blob. A pull by others, noted longer ago, rebuilds the blob again.
INSTRUCTIONS_LIMIT = 256
_SUFFIX = ".recipes"


@dataclass(slots=True)
class _CachedBlob:
    """A blob whose sha256 this process has checked."""

    length: int
    """The file's length in bytes when it was checked."""
    modified_ns: int
    """The file's modification time when it was checked, in nanoseconds since 1970."""
    rebuilt_from: dict[Digest, None]
    """The digests of the instructions from which the blob was rebuilt, the latest last."""


class BlobCache:
    """The folder of rebuilt blobs. One per process."""

    def __init__(self, folder: Path, max_bytes: int, offload: Offload, metrics: Metrics) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._offload = offload
        self._metrics = metrics
        self._entries: OrderedDict[Digest, _CachedBlob] = OrderedDict()
        self._unverified: OrderedDict[Digest, int] = OrderedDict()
        """The lengths of the files that an earlier process left, the oldest file first."""
        self._bytes = 0

    async def warm(self, digest: Digest, instructions: Digest) -> FileBody | None:
        """The whole blob, if it was rebuilt from these instructions and its file has not changed since; else None."""
        if digest in self._unverified:
            await self._verify(digest)
        entry = self._entries.get(digest)
        if entry is None or instructions not in entry.rebuilt_from:
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
        """Whether there is a file of this blob, whether or not its sha256 was checked."""
        return digest in self._entries or digest in self._unverified

    async def add(self, digest: Digest, instructions: Digest, file: Path) -> Path | None:
        """Moves ``file`` into the cache and returns its new path; None if the disk has no space for it.

        The file is the blob ``digest``, which was rebuilt from ``instructions`` and checked.
        """
        known = self._entries.get(digest)
        rebuilt_from = known.rebuilt_from if known is not None else {}
        rebuilt_from.pop(instructions, None)
        rebuilt_from[instructions] = None
        while len(rebuilt_from) > INSTRUCTIONS_LIMIT:
            del rebuilt_from[next(iter(rebuilt_from))]
        path = self._path(digest)
        try:
            state = await self._offload.io(_take, file, path, list(rebuilt_from))
        except OSError as error:
            logs.event("rebuild-not-cached", digest=str(digest), error=str(error)[:200])
            return None
        self._note(digest, state, rebuilt_from)
        await self._evict()
        return path

    async def clear(self) -> None:
        """Removes all files."""
        for digest in [*self._unverified, *self._entries]:
            await self._drop(digest)

    def restore(self) -> None:
        """Notes the files that an earlier process left. Each is checked before its first use. Runs on a worker."""
        for path in sorted(self._folder.glob("sha*/*"), key=lambda path: path.stat().st_mtime_ns):
            if len(path.name) in (64, 128):
                self._unverified[Digest(path.parent.name, path.name)] = path.stat().st_size
            elif path.suffix != _SUFFIX or not path.with_suffix("").exists():
                path.unlink()  # A process that was killed while it copied a blob left this file.
        self._bytes = sum(self._unverified.values())
        while self._bytes > self._max_bytes:
            digest, length = self._unverified.popitem(last=False)
            self._bytes -= length
            _remove(self._path(digest))
        self._metrics.cache_bytes.set(self._bytes)

    # -- inside

    def _note(self, digest: Digest, state: os.stat_result, rebuilt_from: dict[Digest, None]) -> None:
        old = self._entries.pop(digest, None)
        replaced = old.length if old is not None else self._unverified.pop(digest, 0)
        self._entries[digest] = _CachedBlob(state.st_size, state.st_mtime_ns, rebuilt_from)
        self._bytes += state.st_size - replaced
        self._metrics.cache_bytes.set(self._bytes)

    async def _evict(self) -> None:
        while self._bytes > self._max_bytes and (self._unverified or len(self._entries) > 1):
            await self._drop(next(iter(self._unverified or self._entries)))
            self._metrics.cache_evictions.inc()

    async def _drop(self, digest: Digest) -> None:
        entry = self._entries.pop(digest, None)
        self._bytes -= entry.length if entry is not None else self._unverified.pop(digest, 0)
        self._metrics.cache_bytes.set(self._bytes)
        await self._offload.io(_remove, self._path(digest))

    async def _verify(self, digest: Digest) -> None:
        self._bytes -= self._unverified.pop(digest)
        path = self._path(digest)
        try:
            rebuilt_from = await self._offload.io(_verified, path, digest)
            if rebuilt_from:
                self._note(digest, await self._offload.io(os.stat, path), rebuilt_from)
                return
            logs.event("cache-file-damaged", digest=str(digest))
        except (OSError, UsageError) as error:
            logs.trouble("cache-file-unusable", error, digest=str(digest))
        await self._offload.io(_remove, path)

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest.algorithm / digest.hex


def _take(file: Path, path: Path, rebuilt_from: list[Digest]) -> os.stat_result:
    path.parent.mkdir(0o755, parents=True, exist_ok=True)
    path.with_suffix(_SUFFIX).write_text("".join(f"{instructions}\n" for instructions in rebuilt_from))
    move(file, path)
    return path.stat()


def _remove(path: Path) -> None:
    for each in (path.with_suffix(_SUFFIX), path):
        with contextlib.suppress(OSError):
            each.unlink()


def _verified(path: Path, digest: Digest) -> dict[Digest, None]:
    """The digests of the instructions from which the file was rebuilt; empty if its content does not match ``digest``.

    Raises `OSError`, `UsageError`.
    """
    lines = path.with_suffix(_SUFFIX).read_text("ascii", "replace").splitlines()
    with open(path, "rb") as source:
        hasher = hashlib.file_digest(source, digest.algorithm)
    return {Digest.parse(line): None for line in lines} if hasher.hexdigest() == digest.hex else {}
