"""The one owner of worker threads. The event loop never computes and never waits for a disk.

Four pools, so that work which waits for other work can never starve it:

- ``kernel``: steps of encoders and decoders (`Offload.run`, and `Offload.serve` where a client waits for the bytes);
- ``inner``: what such a step hands out itself and then waits for (`Offload.submit`, the codec's ``submit``);
- ``disk``: reads, writes, fsync, hashing of files (`Offload.io`);
- ``idle``: one thread of low priority, for work that nobody waits for (`Offload.background`).

The first two take turns: no more of them compute at once than there are workers. If more did, the one that holds the
interpreter would lose its processor to another, and the event loop would wait for both. Steps that serve have turns of
their own, as many again: they stand in no queue behind others.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

#: Nice values (sched(7)). Whoever computes must leave the event loop its share of the processor.
_COMPUTING, _IDLE = 5, 10
#: How long a step that has lent out its turn waits for another one; then it goes on without.
_TURN_SECONDS = 5.0


class Offload:
    """Bounded executors. Create one per process, in the composition root, and `close` it last."""

    def __init__(self, workers: int | None = None, disk_workers: int = 16, waiting_workers: int = 8) -> None:
        count = workers or os.cpu_count() or 2
        self.workers = count
        self._turns, self._serving = threading.Semaphore(count), threading.Semaphore(count)
        self._mine = _Mine()
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
        return await self._step(self._turns, function, *args)

    async def serve(self, function: Callable[..., T], *args: Any) -> T:
        """As `run`, for what a client waits for: it waits for nobody but its like."""
        return await self._step(self._serving, function, *args)

    async def io(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from a disk worker."""
        return await _settled(self._disk, function, *args)

    async def background(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)``, computed when the processors have nothing better to do."""
        return await _settled(self._idle, function, *args)

    def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        """``function`` on an inner worker, when there is a turn for it; for code that already runs on a kernel worker.

        Whoever asks for the result before that computes it. Who waits for it lends out the turn and must hold no lock.
        """
        context = contextvars.copy_context()
        job = _Job(self._waiting, partial(context.run, _called, function, *args, **kwargs))
        self._inner.submit(self._in_turn, self._turns, _begin, job.call)
        return job

    def pause(self) -> None:
        """Before a step waits for something that is on its way: another one computes meanwhile.

        The step goes on without a turn. If it waited for one again, it could wait for those who have one and wait for a
        lock that it holds.
        """
        if self._mine.turn is not None:
            self._mine.turn.release()
            self._mine.turn = None

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Lends the turn out meanwhile, if this thread has one."""
        turns = self._mine.turn
        self.pause()
        try:
            yield
        finally:
            if turns is not None and turns.acquire(timeout=_TURN_SECONDS):
                self._mine.turn = turns

    async def _step(self, turns: threading.Semaphore, function: Callable[..., T], *args: Any) -> T:
        self._queued += 1
        try:
            return await _settled(self._kernel, self._in_turn, turns, function, *args)
        finally:
            self._queued -= 1

    def _in_turn(self, turns: threading.Semaphore, function: Callable[..., T], *args: Any) -> T:
        turns.acquire()
        self._mine.turn = turns
        try:
            return function(*args)
        finally:
            self.pause()

    def close(self) -> None:
        """Waits for running work and ends the threads."""
        for pool in (self._kernel, self._inner, self._disk, self._idle):
            pool.shutdown(wait=True, cancel_futures=True)


class _Mine(threading.local):
    """What a thread knows of itself."""

    turn: threading.Semaphore | None = None
    """Where it has one from."""


class _Job(Future[T]):
    """A call that one thread makes: a worker, or who asks for its result first.

    ``call`` holds it until then. That is all that a worker's queue has of the job: who took the call has its bytes too.
    """

    def __init__(self, waiting: Callable[[], AbstractContextManager[None]], function: Callable[[], T]) -> None:
        super().__init__()
        self._waiting = waiting
        self.call: list[Callable[[], None]] = [partial(self._make, function)]

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled:
            self.call.clear()
        return cancelled

    def result(self, timeout: float | None = None) -> T:
        try:
            _begin(self.call)
            if self.done():
                return super().result()
            with self._waiting():
                return super().result(timeout)
        finally:
            del self  # or an exception, its traceback, this frame and the job would keep each other

    def _make(self, function: Callable[[], T]) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except BaseException as error:
            self.set_exception(error)
            del self, function  # as in `result`
        else:
            self.set_result(result)


def _begin(call: list[Callable[[], None]]) -> None:
    """Makes the call here, unless another thread has begun it or it was cancelled."""
    try:
        make = call.pop()
    except IndexError:
        return
    make()
    del make  # as in `_Job.result`


def _lower_priority(nice: int) -> None:
    """Of this thread alone: Linux gives each its own. Never the lowest: now and then it holds the interpreter."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


async def _settled(pool: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
    """Awaits the call. A cancelled caller leaves only when the thread is done: nobody frees memory under it."""
    future = pool.submit(contextvars.copy_context().run, _called, function, *args)
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
