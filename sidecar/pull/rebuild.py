"""Rebuilds of layers. However many clients ask for a layer, it is rebuilt once, and all of them read the file while it
grows. A rebuilt blob whose sha256 agrees goes into the cache.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reducto.errors import Corrupt, ProofFailed
from reducto.oci.registry_errors import StorageFull, is_full
from reducto.values import ByteRange, Digest
from sidecar.cache.blob_cache import BlobCache
from sidecar.codec.interface import LayerDecoder
from sidecar.records.format import LayerRecord
from sidecar.runtime import logs
from sidecar.runtime.growing_file import READ_BYTES, GrowingFile
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload, clear_frames
from sidecar.runtime.tasks import Tasks

#: The last bytes of every answer are withheld until the sha256 of the whole blob agrees.
WITHHELD_BYTES = 64 << 10
_STEP_BYTES = 1 << 20
_ATTEMPTS = 2

#: How long a rebuild waits, once it has its first bytes, for the search for a donor of its deflate tokens.
_DONOR_WAIT_SECONDS = 0.15


class Prepared(NamedTuple):
    """A layer's decoder, and the task that looks for a donor for it; the task never fails."""

    decoder: LayerDecoder
    donor_search: asyncio.Task[None] | None = None


#: Makes a layer's decoder. The argument says whether to bypass the cache, because local copies may be damaged.
Prepare = Callable[[bool], Awaitable[Prepared]]


class Rebuild:
    """A blob that is being rebuilt. Each reader retains its file first, and releases it in the end (`GrowingFile`)."""

    def __init__(self, layer: LayerRecord, file: GrowingFile) -> None:
        self.layer = layer
        self.digest = layer.digest
        self.wire_length = layer.wire_length
        self.file = file

    async def read(self, wanted: ByteRange) -> AsyncIterator[bytes]:
        """The bytes of the range ``wanted``, the last 64 KiB of them only after the whole blob's sha256 was checked.

        Raises the error with which the rebuild failed.
        """
        at, file = wanted.start, self.file
        while at < wanted.stop:
            stop = wanted.stop if file.ended else max(at, wanted.stop - WITHHELD_BYTES)
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
    """The rebuilds that are running. `cache` has the blobs that were rebuilt before."""

    def __init__(
        self,
        cache: BlobCache,
        scratch: Path,
        parallel: int,
        free_space: Callable[[], None],
        offload: Offload,
        metrics: Metrics,
    ) -> None:
        """``parallel`` is how many rebuilds may run at once. ``free_space`` runs on a worker when the disk is full, and
        removes other caches on it."""
        self.cache = cache
        self._scratch = scratch
        self._slots = asyncio.Semaphore(parallel)
        self._free_space = free_space
        self._offload = offload
        self._metrics = metrics
        self._starting = asyncio.Lock()
        self._running: dict[tuple[Digest, str], Rebuild] = {}
        self._tasks = Tasks()

    async def cold(self, layer: LayerRecord, prepare: Prepare) -> tuple[Rebuild, bool]:
        """The rebuild of the layer, and whether it is a new one rather than one that already ran.

        The caller releases its file.

        Two records of one layer share a rebuild only if they name the same blobs. Otherwise a forged record in one
        repository could fail the pulls of another repository that holds the same layer.
        """
        key = (layer.digest, layer.rebuild_id)
        async with self._starting:
            running = self._running.get(key)
            if running is not None and running.file.error is None:
                running.file.retain()
                return running, False
            name = f"rebuild-{layer.digest.hex}-{secrets.token_hex(4)}"
            file = await GrowingFile.create(self._scratch / name, self._offload)
            rebuild = self._running[key] = Rebuild(layer, file)
            file.retain()
            self._tasks.start(self._run(rebuild, prepare))
            return rebuild, True

    async def close(self) -> None:
        """Stops all rebuilds."""
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
            async with self._slots:
                self._metrics.rebuilds_running.inc()
                try:
                    await self._decode_with_space(rebuild, prepare)
                finally:
                    self._metrics.rebuilds_running.dec()
            cached_path = await self.cache.add(rebuild.digest, rebuild.layer.instructions.digest, file.path)
            if cached_path is None:
                await file.remove()  # Its readers can go on; the disk frees it when the last of them ends.
            else:
                file.path = cached_path
            file.complete()
            seconds = time.monotonic() - started
            self._metrics.rebuild_seconds.observe(seconds)
            self._metrics.moved("pull", rebuild.wire_length, seconds)
        except OSError as error:
            full = is_full(error)
            self._failed(rebuild, StorageFull(f"the disk has no space for the rebuild: {error}") if full else error)
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
        clear_frames(error)  # Readers keep the error, and its frames would keep the decoder's memory.
        rebuild.file.fail(error if isinstance(error, Exception) else Corrupt("the rebuild was stopped"))

    async def _decode_with_space(self, rebuild: Rebuild, prepare: Prepare) -> None:
        """Decodes the blob. If the disk is full, empties all caches and decodes once more."""
        try:
            await self._decode_or_retry(rebuild, prepare)
        except OSError as error:
            if not is_full(error):
                raise
            logs.event("cache-emptied", reason=str(error)[:200])
            await self.cache.clear()
            await self._offload.io(self._free_space)
            await self._decode_or_retry(rebuild, prepare)

    async def _decode_or_retry(self, rebuild: Rebuild, prepare: Prepare) -> None:
        """Decodes the blob. If that meets damage, fetches its corpora again and decodes once more.

        Readers that have bytes of the first attempt go on with the second, because `_step` checks that both attempts
        give the same bytes.
        """
        for attempt in range(_ATTEMPTS):
            try:
                prepared = await prepare(attempt > 0)
                try:
                    if prepared.decoder.wire_length != rebuild.wire_length:
                        raise Corrupt(f"the record of {rebuild.digest} and its instructions state different lengths")
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
            # The first step is short, so that readers have their first byte early.
            stop = await self._offload.serve(_step, pieces, rebuild.file, hasher, at, _STEP_BYTES if at else 1)
            if stop == at:
                break
            first, at = at == 0, stop
            if at > rebuild.wire_length:
                raise Corrupt(f"the rebuilt {rebuild.digest} is longer than {rebuild.wire_length} bytes")
            rebuild.file.publish(at)
            if first and prepared.donor_search is not None:
                await asyncio.wait([prepared.donor_search], timeout=_DONOR_WAIT_SECONDS)
        if at != rebuild.wire_length or hasher.hexdigest() != rebuild.digest.hex:
            raise ProofFailed(f"the rebuilt blob is not {rebuild.digest}")


def _step(pieces: Iterator[bytes | memoryview], file: GrowingFile, hasher: Any, at: int, budget: int) -> int:
    """Writes at least ``budget`` bytes, or less if the blob ends, and returns the offset behind them. Runs on a
    worker."""
    goal = at + budget
    for piece in pieces:
        # An attempt that failed may have published bytes here, which readers have already.
        if at < file.length and not file.holds(at, piece):
            raise ProofFailed(f"an earlier attempt gave readers other bytes behind offset {at}")
        file.write_at(at, piece)
        hasher.update(piece)
        at += len(piece)
        if at >= goal:
            break
    return at
