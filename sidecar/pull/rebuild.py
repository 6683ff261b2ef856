"""Rebuilds: one at a time of each layer however many ask, followed by its readers, then kept in the cache."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reducto.errors import Corrupt, ProofFailed
from reducto.oci.errors import StorageFull, is_full
from reducto.values import ByteRange, Digest
from sidecar.cache.blob_cache import BlobCache
from sidecar.codec.interface import LayerDecoder
from sidecar.records.format import LayerRecord
from sidecar.runtime import logs
from sidecar.runtime.growing_file import READ_BYTES, GrowingFile
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload, clear_frames
from sidecar.runtime.tasks import Tasks

#: The end of every answer that leaves only when the whole blob is proved.
HELD_BYTES = 64 << 10
_STEP_BYTES = 1 << 20
_ATTEMPTS = 2

#: How long a rebuild that has its first bytes stands still for help that is on its way.
_HELP_SECONDS = 0.15


class Prepared(NamedTuple):
    """A decoder with its corpora at hand, and what goes on to make it faster; the latter never fails."""

    decoder: LayerDecoder
    help: asyncio.Task[None] | None = None


#: With True it must not trust local copies.
Prepare = Callable[[bool], Awaitable[Prepared]]


class Rebuild:
    """A blob being rebuilt. Its readers hold it with `GrowingFile.retain` and `release`."""

    def __init__(self, layer: LayerRecord, file: GrowingFile) -> None:
        self.layer = layer
        self.digest = layer.digest
        self.wire_length = layer.wire_length
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
    """All rebuilds in progress; `cache` has those that are done."""

    def __init__(
        self,
        cache: BlobCache,
        scratch: Path,
        parallel: int,
        make_room: Callable[[], None],
        offload: Offload,
        metrics: Metrics,
    ) -> None:
        """``make_room`` frees what others keep on the same disk; it runs on a worker."""
        self.cache = cache
        self._scratch = scratch
        self._gate = asyncio.Semaphore(parallel)
        self._make_room = make_room
        self._offload = offload
        self._metrics = metrics
        self._starting = asyncio.Lock()
        self._running: dict[tuple[Digest, str], Rebuild] = {}
        self._tasks = Tasks()

    async def cold(self, layer: LayerRecord, prepare: Prepare) -> Rebuild:
        """The rebuild of the layer, already running or begun now. The caller releases its file.

        Only those whose records say the same share one: a forged record in one repository must not fail the pulls of
        another that holds the same blob.
        """
        key = (layer.digest, layer.rebuild_id)
        async with self._starting:
            running = self._running.get(key)
            if running is not None and running.file.error is None:
                running.file.retain()
                return running
            name = f"rebuild-{layer.digest.hex}-{secrets.token_hex(4)}"
            file = await GrowingFile.create(self._scratch / name, self._offload)
            rebuild = self._running[key] = Rebuild(layer, file)
            file.retain()
            self._tasks.start(self._run(rebuild, prepare))
            return rebuild

    async def close(self) -> None:
        """Stops rebuilds."""
        await self._tasks.stop()

    @property
    def busy(self) -> bool:
        """Whether anything is being rebuilt."""
        return bool(self._running)

    # -- one rebuild

    async def _run(self, rebuild: Rebuild, prepare: Prepare) -> None:
        started = time.monotonic()
        file = rebuild.file
        try:
            async with self._gate:
                self._metrics.rebuilds_running.inc()
                try:
                    await self._with_room(rebuild, prepare)
                finally:
                    self._metrics.rebuilds_running.dec()
            kept = await self.cache.add(rebuild.digest, rebuild.layer.instructions.digest, file.path)
            if kept is None:
                await file.remove()  # it goes with its last reader
            else:
                file.path = kept
            file.complete()
            seconds = time.monotonic() - started
            self._metrics.rebuild_seconds.observe(seconds)
            self._metrics.moved("pull", rebuild.wire_length, seconds)
        except OSError as error:
            self._failed(rebuild, StorageFull(f"no room to rebuild: {error}") if is_full(error) else error)
        except BaseException as error:
            self._failed(rebuild, error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            key = (rebuild.digest, rebuild.layer.rebuild_id)
            if self._running.get(key) is rebuild:
                del self._running[key]
            if file.error is not None:
                await file.remove()
            await file.release()

    def _failed(self, rebuild: Rebuild, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            self._metrics.rebuild_failures.inc()
            logs.trouble("rebuild-failed", error, digest=str(rebuild.digest))
        clear_frames(error)  # readers keep it
        rebuild.file.fail(error if isinstance(error, Exception) else Corrupt("the rebuild was stopped"))

    async def _with_room(self, rebuild: Rebuild, prepare: Prepare) -> None:
        """Decodes; once more without anything that is only kept to save time when the disk is full."""
        try:
            await self._attempts(rebuild, prepare)
        except OSError as error:
            if not is_full(error):
                raise
            logs.event("cache-emptied", reason=str(error)[:200])
            await self.cache.clear()
            await self._offload.io(self._make_room)
            await self._attempts(rebuild, prepare)

    async def _attempts(self, rebuild: Rebuild, prepare: Prepare) -> None:
        """Decodes; once more with corpora fetched anew when the first try meets damage. The bytes should be the same
        each time: then readers of the first try just go on."""
        for attempt in range(_ATTEMPTS):
            try:
                prepared = await prepare(attempt > 0)
                try:
                    await self._decode(rebuild, prepared)
                    self._metrics.followed_bytes.inc(prepared.decoder.reused_bytes)
                    self._metrics.stated_bytes.inc(prepared.decoder.precomputed_bytes)
                finally:
                    await self._offload.serve(prepared.decoder.close)
            except (Corrupt, ProofFailed) as error:
                if attempt == _ATTEMPTS - 1:
                    raise
                logs.trouble("rebuild-again", error, digest=str(rebuild.digest))
            else:
                return

    async def _decode(self, rebuild: Rebuild, prepared: Prepared) -> None:
        pieces = await self._offload.serve(prepared.decoder.rebuild)
        hasher = rebuild.digest.hasher()
        at = 0
        while True:
            # The first step is short, for an early first byte.
            stop = await self._offload.serve(_step, pieces, rebuild.file, hasher, at, _STEP_BYTES if at else 1)
            if stop == at:
                break
            first, at = at == 0, stop
            if at > rebuild.wire_length:
                raise Corrupt(f"the rebuilt {rebuild.digest} is longer than {rebuild.wire_length} bytes")
            rebuild.file.publish(at)
            if first and prepared.help is not None:
                await asyncio.wait([prepared.help], timeout=_HELP_SECONDS)
        if at != rebuild.wire_length or hasher.hexdigest() != rebuild.digest.hex:
            raise ProofFailed(f"what was rebuilt is not {rebuild.digest}")


def _step(pieces: Iterator[bytes | memoryview], file: GrowingFile, hasher: Any, at: int, budget: int) -> int:
    """Writes at least ``budget`` bytes unless the blob ends; returns the offset reached. Runs on a worker."""
    goal = at + budget
    for piece in pieces:
        if at < file.length and not file.holds(at, piece):  # of an attempt that failed later
            raise ProofFailed(f"readers have got wrong bytes behind {at}")
        file.write_at(at, piece)
        hasher.update(piece)
        at += len(piece)
        if at >= goal:
            break
    return at
