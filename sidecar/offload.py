"""The one owner of worker threads. The event loop never computes and never waits for a disk.

Four pools, so that work which waits for other work can never starve it:

- ``kernel``: steps of encoders and decoders (`Offload.run`);
- ``inner``: what such a step hands out itself and then waits for (`Offload.submit`, the codec's ``submit``);
- ``disk``: reads, writes, fsync, hashing of files (`Offload.io`);
- ``idle``: one thread of the lowest priority, for work that nobody waits for (`Offload.background`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Offload:
    """Bounded executors. Create one per process, in the composition root, and `close` it last."""

    def __init__(self, workers: int | None = None, disk_workers: int = 16, waiting_workers: int = 8) -> None:
        count = workers or os.cpu_count() or 2
        self.workers = count
        # Steps may wait for bytes that are on their way from the upstream: others must not wait with them.
        self._kernel = ThreadPoolExecutor(count + waiting_workers, "kernel")
        self._inner = ThreadPoolExecutor(count, "inner")
        self._disk = ThreadPoolExecutor(disk_workers, "disk")
        self._idle = ThreadPoolExecutor(1, "idle", initializer=_yield_to_others)
        self._queued = 0

    @property
    def queue_depth(self) -> int:
        """Kernel steps that were asked for and have not ended."""
        return self._queued

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from a kernel worker."""
        self._queued += 1
        try:
            return await _settled(self._kernel, function, *args)
        finally:
            self._queued -= 1

    async def io(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from a disk worker."""
        return await _settled(self._disk, function, *args)

    async def background(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)``, computed when the processors have nothing better to do."""
        return await _settled(self._idle, function, *args)

    def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        """Starts ``function`` on an inner worker; for code that already runs on a kernel worker."""
        return self._inner.submit(function, *args, **kwargs)

    def close(self) -> None:
        """Waits for running work and ends the threads."""
        for pool in (self._kernel, self._inner, self._disk, self._idle):
            pool.shutdown(wait=True, cancel_futures=True)


def _yield_to_others() -> None:
    """Linux gives each thread a priority of its own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


async def _settled(pool: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
    """Awaits the call. A cancelled caller leaves only when the thread is done: nobody frees memory under it."""
    future = pool.submit(function, *args)
    wrapped = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(wrapped)
    except asyncio.CancelledError:
        if not future.cancel():
            while not future.done():
                await asyncio.wait([wrapped])
            if not future.cancelled():
                future.exception()
        raise
