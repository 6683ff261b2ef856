"""Reduces a blob while it arrives: reads the spool as it grows, and feeds the bytes to an encoder on workers.

A failure never fails the push. The outcome is then `Stored`, so the blob is stored as it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from reducto.values import Digest, Reason, Stored
from sidecar.codec.interface import LayerEncoder, Reduction
from sidecar.runtime import logs
from sidecar.runtime.growing_file import READ_BYTES, GrowingFile
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload, clear_frames

#: If the encoder has not ended this long after the last byte, the original is stored, because clients give up after 300
#: seconds without an answer.
FINISH_SECONDS = 240.0


class Encoding:
    """The reduction of one upload. It begins at once; call `finish` when the spool is complete."""

    def __init__(
        self,
        spool: GrowingFile,
        make_encoder: Callable[[], LayerEncoder],
        smallest_bytes: int,
        slots: asyncio.Semaphore,
        offload: Offload,
        metrics: Metrics,
    ) -> None:
        """``smallest_bytes``: a blob shorter than this is not reduced. ``slots`` limits how many encoders work at
        once."""
        self._spool = spool
        self._make_encoder = make_encoder
        self._smallest_bytes = smallest_bytes
        self._slots = slots
        self._offload = offload
        self._metrics = metrics
        self._digest: asyncio.Future[Digest] = asyncio.get_running_loop().create_future()
        self._encoder: LayerEncoder | None = None
        self._task = asyncio.create_task(self._run())
        spool.retain()

    async def finish(self, digest: Digest) -> Reduction | Stored:
        """The outcome for the complete blob, whose digest was checked. The encoder's files remain until `close`."""
        started = time.monotonic()
        self._spool.complete()
        if not self._digest.done():
            self._digest.set_result(digest)
        try:
            outcome = await asyncio.wait_for(asyncio.shield(self._task), FINISH_SECONDS)
        except TimeoutError:
            return Stored(Reason.TIME_LIMIT, f"not reduced within {FINISH_SECONDS:.0f} s")
        except Exception as error:
            self._metrics.reduce_failures.inc()
            logs.trouble("reduce-failed", error, digest=str(digest))
            return Stored(Reason.FAILED, f"{type(error).__name__}: {error}"[:300])
        self._metrics.encode_seconds.observe(time.monotonic() - started)
        return outcome

    async def close(self) -> None:
        """Stops the encoder and removes its files."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            await self._offload.run(encoder.close)
        await self._spool.release()

    def _make(self) -> LayerEncoder:
        """Makes the encoder. Runs on a worker. The encoder is stored on self at once, so that `close` can close it even
        if the task was cancelled meanwhile."""
        self._encoder = self._make_encoder()
        return self._encoder

    async def _run(self) -> Reduction | Stored:
        try:
            return await self._encode()
        except Exception as error:
            clear_frames(error)  # The task keeps the error, and its frames would keep the encoder's memory.
            raise

    async def _encode(self) -> Reduction | Stored:
        while self._spool.length < self._smallest_bytes:
            if self._spool.ended:
                return Stored(Reason.TOO_SMALL)
            await self._spool.changed()
        async with self._slots:
            encoder = await self._offload.run(self._make)
            at = 0
            while piece := await self._spool.read(at, 4 * READ_BYTES):
                at += len(piece)
                await self._offload.run(encoder.feed, piece)
            digest = await self._digest
            return await self._offload.run(encoder.finish, digest)
