"""Rebuilt blobs: one rebuild per digest however many ask, followed by its readers, kept in a bounded cache."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from reducto.errors import Corrupt, ProofFailed, ReductoError
from reducto.model import ByteRange, Digest
from sidecar import logs
from sidecar.atomic import move
from sidecar.codec import Decoder
from sidecar.errors import StorageFull
from sidecar.growing import READ_BYTES, GrowingFile
from sidecar.metrics import Metrics
from sidecar.offload import Offload
from sidecar.upstream.base import FileBody

#: The end of every answer that leaves only when the whole blob is proved.
HELD_BYTES = 64 << 10
_STEP_BYTES = 1 << 20
_ATTEMPTS = 2

#: Makes a decoder, with its corpora at hand. With True it must not trust local copies.
MakeDecoder = Callable[[bool], Awaitable[Decoder]]


class Rebuild:
    """A blob being rebuilt. Its readers hold it with `GrowingFile.retain` and `release`."""

    def __init__(self, digest: Digest, wire_length: int, file: GrowingFile) -> None:
        self.digest = digest
        self.wire_length = wire_length
        self.file = file

    async def read(self, wanted: ByteRange) -> AsyncIterator[bytes]:
        """The bytes of ``wanted``; the last of them only after the whole blob is proved. Raises what went wrong."""
        at, file = wanted.start, self.file
        while at < wanted.stop:
            stop = wanted.stop if file.ended else max(at, wanted.stop - HELD_BYTES)
            ready = min(stop, file.length) - at
            if file.error is not None:
                raise file.error
            if ready > 0:
                piece = await file.read(at, min(ready, READ_BYTES))
                at += len(piece)
                yield piece
            elif file.ended:
                raise Corrupt(f"the rebuilt {self.digest} ends at {file.length} of {self.wire_length} bytes")
            else:
                await file.changed()


class Rebuilds:
    """All rebuilds in progress, and the cache of finished ones."""

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        max_bytes: int,
        parallel: int,
        make_room: Callable[[], None],
        offload: Offload,
        metrics: Metrics,
    ) -> None:
        """``make_room`` frees what others keep on the same disk; it runs on a worker."""
        self._folder = folder
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._gate = asyncio.Semaphore(parallel)
        self._make_room = make_room
        self._offload = offload
        self._metrics = metrics
        self._starting = asyncio.Lock()
        self._running: dict[Digest, Rebuild] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._cached: OrderedDict[Digest, tuple[int, int]] = OrderedDict()
        """Length and modification time (ns) of files that were proved by this process."""
        self._unproved: dict[Digest, int] = {}
        self._bytes = 0
        self.last_used = time.monotonic()

    async def warm(self, digest: Digest) -> FileBody | None:
        """The finished blob, if it is in the cache and still what was proved."""
        if digest in self._unproved:
            await self._prove_old(digest)
        known = self._cached.get(digest)
        if known is None:
            return None
        path = self._path(digest)
        try:
            state = await self._offload.io(os.stat, path)
        except FileNotFoundError:
            state = None
        if state is None or (state.st_size, state.st_mtime_ns) != known:
            logs.event("cache-file-changed", digest=str(digest))
            await self._drop(digest)
            return None
        self._cached.move_to_end(digest)
        self.last_used = time.monotonic()
        return FileBody(path, ByteRange(0, known[0]))

    async def cold(self, digest: Digest, wire_length: int, make_decoder: MakeDecoder) -> Rebuild:
        """The rebuild of the blob, already running or begun now. The caller releases its file."""
        async with self._starting:
            running = self._running.get(digest)
            if running is not None and running.file.error is None:
                running.file.retain()
                return running
            name = f"rebuild-{digest.hex}-{secrets.token_hex(4)}"
            file = await GrowingFile.create(self._scratch / name, self._offload)
            rebuild = self._running[digest] = Rebuild(digest, wire_length, file)
            file.retain()
            task = asyncio.create_task(self._run(rebuild, make_decoder))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return rebuild

    async def close(self) -> None:
        """Stops rebuilds."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def busy(self) -> bool:
        """Whether anything is being rebuilt."""
        return bool(self._running)

    # -- one rebuild

    async def _run(self, rebuild: Rebuild, make_decoder: MakeDecoder) -> None:
        started = time.monotonic()
        file = rebuild.file
        try:
            async with self._gate:
                self._metrics.rebuilds_running.inc()
                try:
                    await self._with_room(rebuild, make_decoder)
                finally:
                    self._metrics.rebuilds_running.dec()
            await self._keep(rebuild)
            file.complete()
            seconds = time.monotonic() - started
            self._metrics.rebuild_seconds.observe(seconds)
            self._metrics.moved("pull", rebuild.wire_length, seconds)
        except OSError as error:
            self._failed(rebuild, StorageFull(f"no room to rebuild: {error}") if _is_full(error) else error)
        except BaseException as error:
            self._failed(rebuild, error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            if self._running.get(rebuild.digest) is rebuild:
                del self._running[rebuild.digest]
            if file.error is not None:
                await file.remove()
            await file.release()

    def _failed(self, rebuild: Rebuild, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            self._metrics.rebuild_failures.inc()
            logs.trouble("rebuild-failed", error, digest=str(rebuild.digest))
        rebuild.file.fail(error if isinstance(error, Exception) else Corrupt("the rebuild was stopped"))

    async def _with_room(self, rebuild: Rebuild, make_decoder: MakeDecoder) -> None:
        """Decodes; once more without anything that is only kept to save time when the disk is full."""
        try:
            await self._attempts(rebuild, make_decoder)
        except OSError as error:
            if not _is_full(error):
                raise
            logs.event("cache-emptied", reason=str(error)[:200], bytes=self._bytes)
            for digest in list(self._cached):
                await self._drop(digest)
            await self._offload.io(self._make_room)
            await self._attempts(rebuild, make_decoder)

    async def _attempts(self, rebuild: Rebuild, make_decoder: MakeDecoder) -> None:
        """Decodes; once more with corpora fetched anew when the first try meets damage. The bytes are the same
        each time, so readers of the first try just go on."""
        for attempt in range(_ATTEMPTS):
            try:
                decoder = await make_decoder(attempt > 0)
                try:
                    await self._decode(rebuild, decoder)
                finally:
                    await self._offload.run(decoder.close)
            except (Corrupt, ProofFailed) as error:
                if attempt == _ATTEMPTS - 1:
                    raise
                logs.trouble("rebuild-again", error, digest=str(rebuild.digest))
            else:
                return

    async def _decode(self, rebuild: Rebuild, decoder: Decoder) -> None:
        pieces = await self._offload.run(decoder.rebuild)
        hasher = rebuild.digest.hasher()
        at = 0
        while True:
            # The first step is short, for an early first byte.
            stop = await self._offload.run(_step, pieces, rebuild.file, hasher, at, _STEP_BYTES if at else 1)
            if stop == at:
                break
            at = stop
            if at > rebuild.wire_length:
                raise Corrupt(f"the rebuilt {rebuild.digest} is longer than {rebuild.wire_length} bytes")
            rebuild.file.publish(at)
        if at != rebuild.wire_length or hasher.hexdigest() != rebuild.digest.hex:
            raise ProofFailed(f"what was rebuilt is not {rebuild.digest}")

    # -- the cache

    async def _keep(self, rebuild: Rebuild) -> None:
        """Moves what was rebuilt into the cache. Without room there it goes with its last reader."""
        path = self._path(rebuild.digest)
        try:
            await self._offload.io(path.parent.mkdir, 0o755, True, True)
            await self._offload.io(move, rebuild.file.path, path)
            state = await self._offload.io(os.stat, path)
        except OSError as error:
            logs.event("rebuild-not-cached", digest=str(rebuild.digest), error=str(error)[:200])
            await rebuild.file.remove()
            return
        rebuild.file.path = path
        self._note(rebuild.digest, state)
        await self._evict()

    def _note(self, digest: Digest, state: os.stat_result) -> None:
        old = self._cached.pop(digest, (0, 0))
        self._cached[digest] = (state.st_size, state.st_mtime_ns)
        self._bytes += state.st_size - old[0]
        self._metrics.cache_bytes.set(self._bytes)

    async def _evict(self) -> None:
        while self._bytes > self._max_bytes and len(self._cached) > 1:
            await self._drop(next(iter(self._cached)))
            self._metrics.cache_evictions.inc()

    async def _drop(self, digest: Digest) -> None:
        length, _ = self._cached.pop(digest, (0, 0))
        self._bytes -= length
        self._metrics.cache_bytes.set(self._bytes)
        await self._offload.io(self._path(digest).unlink, True)

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest.algorithm / digest.hex

    def restore(self) -> None:
        """Finds what an earlier process left. It is proved again before its first use. For a worker."""
        for path in self._folder.glob("sha*/*"):
            if len(path.name) in (64, 128):
                self._unproved[Digest(path.parent.name, path.name)] = path.stat().st_size
            else:
                path.unlink()  # what a killed process left of a copy

    async def _prove_old(self, digest: Digest) -> None:
        self._unproved.pop(digest, None)
        path = self._path(digest)
        try:
            if await self._offload.io(_hash_file, path, digest):
                self._note(digest, await self._offload.io(os.stat, path))
                return
            logs.event("cache-file-damaged", digest=str(digest))
        except ReductoError:
            raise
        except OSError:
            pass
        await self._offload.io(path.unlink, True)


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _step(pieces: Iterator[bytes | memoryview], file: GrowingFile, hasher: Any, at: int, budget: int) -> int:
    """Writes at least ``budget`` bytes unless the blob ends; returns the offset reached. Runs on a worker."""
    goal = at + budget
    for piece in pieces:
        file.write_at(at, piece)
        hasher.update(piece)
        at += len(piece)
        if at >= goal:
            break
    return at


def _hash_file(path: Path, digest: Digest) -> bool:
    hasher = digest.hasher()
    with open(path, "rb") as source:
        while piece := source.read(READ_BYTES):
            hasher.update(piece)
    return bool(hasher.hexdigest() == digest.hex)
