"""The one owner of worker threads. The event loop never computes and never waits for a disk.

Four pools, so that work which waits for other work cannot starve it:

- ``kernel`` runs steps of encoders and decoders (`Offload.run`, and `Offload.serve` when a client waits for the bytes);
- ``inner`` runs jobs that such a step starts and then waits for (`Offload.submit`, the codec's ``submit``);
- ``disk`` reads, writes, syncs and hashes files (`Offload.io`);
- ``idle`` is one thread of low priority for work that nobody waits for (`Offload.background`).

``kernel`` and ``inner`` share one semaphore of ``workers`` CPU slots, so at most that many of their threads compute at
once. With more, the thread that holds the interpreter's lock would lose its processor to another one, and the event
loop would wait for both. `Offload.serve` has a second semaphore of the same size, so that a client's step never queues
behind uploads.

Every call runs in a copy of its caller's context variables, so that what a worker logs names the request.
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

#: Nice values (sched(7)), which leave the event loop's thread its share of the processors.
_COMPUTING_NICE, _IDLE_NICE = 5, 10
#: How long a thread that gave up its CPU slot waits to get one back; then it goes on without one.
_SLOT_SECONDS = 5.0


class Offload:
    """Bounded thread pools. The composition root makes one per process, and calls `close` last."""

    def __init__(self, workers: int | None = None, disk_workers: int = 16, waiting_workers: int = 8) -> None:
        """``workers`` is the number of CPU slots, by default one for each processor.

        ``waiting_workers`` more kernel threads exist, because steps give up their slot while they wait for bytes from
        the upstream, and other steps must be able to compute meanwhile.
        """
        count = workers or os.cpu_count() or 2
        self.workers = count
        self._cpu_slots, self._serving_slots = threading.Semaphore(count), threading.Semaphore(count)
        self._thread = _ThreadState()
        self._kernel = ThreadPoolExecutor(count + waiting_workers, "kernel", _lower_priority, (_COMPUTING_NICE,))
        self._inner = ThreadPoolExecutor(count, "inner", _lower_priority, (_COMPUTING_NICE,))
        self._disk = ThreadPoolExecutor(disk_workers, "disk", _lower_priority, (_COMPUTING_NICE,))
        self._idle = ThreadPoolExecutor(1, "idle", _lower_priority, (_IDLE_NICE,))
        self._queued = 0

    @property
    def queue_depth(self) -> int:
        """Kernel steps that were asked for and have not ended."""
        return self._queued

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from a kernel worker."""
        return await self._step(self._cpu_slots, function, *args)

    async def serve(self, function: Callable[..., T], *args: Any) -> T:
        """Like `run`, but with the serving slots: the step never queues behind uploads."""
        return await self._step(self._serving_slots, function, *args)

    async def io(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from a disk worker."""
        return await _settled(self._disk, function, *args)

    async def background(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)`` from the one idle worker, which computes when processors are free."""
        return await _settled(self._idle, function, *args)

    def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        """Starts ``function`` on an inner worker as soon as a CPU slot is free. Only kernel workers may call this.

        A caller that asks for the result before a worker has begun computes it itself. A caller that has to wait gives
        up its own CPU slot meanwhile, so it must hold no lock.
        """
        context = contextvars.copy_context()
        job = _Job(self._waiting, partial(context.run, _called, function, *args, **kwargs))
        self._inner.submit(self._with_slot, self._cpu_slots, _begin, job.call)
        return job

    def release_cpu_slot(self) -> None:
        """Gives up this thread's CPU slot for the rest of its step, which is about to wait for bytes.

        The slot is not taken again: the step could wait for a slot whose owner waits for a lock that the step holds.
        """
        if self._thread.slot is not None:
            self._thread.slot.release()
            self._thread.slot = None

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Gives up this thread's CPU slot for the block, if it has one."""
        slots = self._thread.slot
        self.release_cpu_slot()
        try:
            yield
        finally:
            if slots is not None and slots.acquire(timeout=_SLOT_SECONDS):
                self._thread.slot = slots

    async def _step(self, slots: threading.Semaphore, function: Callable[..., T], *args: Any) -> T:
        self._queued += 1
        try:
            return await _settled(self._kernel, self._with_slot, slots, function, *args)
        finally:
            self._queued -= 1

    def _with_slot(self, slots: threading.Semaphore, function: Callable[..., T], *args: Any) -> T:
        slots.acquire()
        self._thread.slot = slots
        try:
            return function(*args)
        finally:
            self.release_cpu_slot()

    def close(self) -> None:
        """Waits for running work and ends the threads."""
        for pool in (self._kernel, self._inner, self._disk, self._idle):
            pool.shutdown(wait=True, cancel_futures=True)


class _ThreadState(threading.local):
    """What `Offload` knows about the calling thread."""

    slot: threading.Semaphore | None = None
    """The semaphore that the thread's CPU slot is from; None while it has no slot."""


class _Job(Future[T]):
    """A call that exactly one thread makes: a worker, or the thread that asks for the result first.

    The worker's queue holds only the list ``call``, which is emptied by the thread that begins the call. So the
    arguments, which may be large buffers, are freed as soon as the call has returned.
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
            # Otherwise a raised exception, its traceback, this frame and the job would keep each other alive.
            del self

    def _make(self, function: Callable[[], T]) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except BaseException as error:
            self.set_exception(error)
            del self, function  # for the same reason as in `result`
        else:
            self.set_result(result)


def _begin(call: list[Callable[[], None]]) -> None:
    """Makes the call in this thread, unless another thread has begun it or it was cancelled."""
    try:
        make = call.pop()
    except IndexError:
        return
    make()
    del make  # for the same reason as in `_Job.result`


def _lower_priority(nice: int) -> None:
    """Sets the nice value of the calling thread alone, since Linux keeps one for each thread.

    The value is never the lowest, because a thread that holds the interpreter's lock must soon get a processor.
    A process that was started with `nice` may have a higher value already, which only root may lower: it stays.
    """
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))


async def _settled(pool: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
    """The result of a call in the pool. A cancelled caller leaves only when the thread is done with its arguments."""
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
                unwanted.close()  # the caller that wanted this file has been cancelled
        raise
    finally:
        # Otherwise a raised exception, its traceback, this frame and the future would keep each other alive.
        del future, wrapped


def _called(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """The call's result. The frames of a failed call are cleared, so that its exception keeps no buffers alive."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        clear_frames(error)
        raise


def clear_frames(error: BaseException) -> None:
    """Clears the local variables of the frames that ``error`` passed through: decoders, buffers, mappings.

    Its traceback would keep them alive for as long as the exception lives. When that ends in a reference cycle, the
    garbage collector frees them, and Python 3.11's crashes on memory views that are in use (gh-77894).
    """
    chained: BaseException | None = error
    while chained is not None:
        traceback.clear_frames(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__
