"""The one owner of worker threads. The event loop never computes and never waits for a disk.

Four pools, so that work which waits for other work can never starve it:

- ``kernel``: steps of encoders and decoders (`Offload.run`), as many at once as there are workers; one that waits for
  the network (`Offload.pause`) lets another compute;
- ``inner``: what such a step hands out itself and then waits for (`Offload.submit`, the codec's ``submit``);
- ``disk``: reads, writes, fsync, hashing of files (`Offload.io`);
- ``idle``: one thread of low priority, for work that nobody waits for (`Offload.background`).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

#: Nice values (sched(7)). Whoever computes must leave the event loop its share of the processor.
_COMPUTING, _IDLE = 5, 10


class Offload:
    """Bounded executors. Create one per process, in the composition root, and `close` it last."""

    def __init__(self, workers: int | None = None, disk_workers: int = 16, waiting_workers: int = 8) -> None:
        count = workers or os.cpu_count() or 2
        self.workers = count
        self._turns = threading.Semaphore(count)
        self._has_turn = threading.local()
        # Steps may wait for bytes that are on their way from the upstream: others must not wait with them.
        self._kernel = ThreadPoolExecutor(count + waiting_workers, "kernel", _lower_priority, (_COMPUTING,))
        self._inner = ThreadPoolExecutor(count, "inner", _lower_priority, (_COMPUTING,))
        self._disk = ThreadPoolExecutor(disk_workers, "disk", _lower_priority, (_COMPUTING,))
        self._idle = ThreadPoolExecutor(1, "idle", _lower_priority, (_IDLE,))
        self._queued = 0

    @property
    def queue_depth(self) -> int:
        """Kernel steps that were asked for and have not ended."""
        return self._queued

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from a kernel worker."""
        self._queued += 1
        try:
            return await _settled(self._kernel, self._in_turn, function, *args)
        finally:
            self._queued -= 1

    async def io(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from a disk worker."""
        return await _settled(self._disk, function, *args)

    async def background(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)``, computed when the processors have nothing better to do."""
        return await _settled(self._idle, function, *args)

    def pause(self) -> None:
        """Before a kernel step waits for something that is on its way: another one computes meanwhile.

        The step goes on without a turn. If it waited for one again, it could wait for those who have one and wait for a
        lock that it holds.
        """
        if getattr(self._has_turn, "here", False):
            self._has_turn.here = False
            self._turns.release()

    def _in_turn(self, function: Callable[..., T], *args: Any) -> T:
        self._turns.acquire()
        self._has_turn.here = True
        try:
            return function(*args)
        finally:
            self.pause()

    def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        """Starts ``function`` on an inner worker; for code that already runs on a kernel worker."""
        return self._inner.submit(_called, function, *args, **kwargs)

    def close(self) -> None:
        """Waits for running work and ends the threads."""
        for pool in (self._kernel, self._inner, self._disk, self._idle):
            pool.shutdown(wait=True, cancel_futures=True)


def _lower_priority(nice: int) -> None:
    """Of this thread alone: Linux gives each its own. Never the lowest: now and then it holds the interpreter."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


async def _settled(pool: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
    """Awaits the call. A cancelled caller leaves only when the thread is done: nobody frees memory under it."""
    future = pool.submit(_called, function, *args)
    wrapped = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(wrapped)
    except asyncio.CancelledError:
        if not future.cancel():
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([wrapped])
            if future.exception() is None and isinstance(unwanted := future.result(), io.IOBase):
                unwanted.close()  # a file that nobody will get
        raise
    finally:
        del future, wrapped  # or an exception, its traceback, this frame and the future would keep each other


def _called(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """The call's result; a failure leaves nothing behind but itself."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        clear_frames(error)
        raise


def clear_frames(error: BaseException) -> None:
    """Makes the frames through which ``error`` came let go of what they hold: decoders, buffers, mappings.

    Its traceback would keep these as long as anybody keeps the exception, and if that ends in a reference cycle, it is
    the garbage collector that ends them. Python 3.11's crashes on memory views that are in use (gh-77894).
    """
    chained: BaseException | None = error
    while chained is not None:
        traceback.clear_frames(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__
