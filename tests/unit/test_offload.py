"""Worker threads: at most as many compute at once as there are CPU slots; a thread that waits gives up its slot."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, wait
from contextvars import ContextVar

import pytest

from sidecar.runtime.offload import Offload

WORKERS = 2


@pytest.fixture
async def offload() -> AsyncIterator[Offload]:
    made = Offload(WORKERS)
    yield made
    await asyncio.to_thread(made.close)


async def test_steps_share_the_cpu_slots(offload: Offload) -> None:
    guard, running, most = threading.Lock(), 0, 0
    meeting = threading.Barrier(WORKERS)

    def step() -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        meeting.wait(10)
        with guard:
            running -= 1

    await asyncio.gather(*(offload.run(step) for _ in range(3 * WORKERS)))
    assert most == WORKERS


async def test_a_step_that_releases_its_slot_lets_another_compute(offload: Offload) -> None:
    arrived = threading.Event()

    def wait() -> bool:
        offload.release_cpu_slot()
        return arrived.wait(10)

    waiting = [asyncio.create_task(offload.run(wait)) for _ in range(WORKERS + 1)]
    await asyncio.sleep(0)
    await asyncio.wait_for(offload.run(arrived.set), 10)
    assert all(await asyncio.gather(*waiting))


async def test_a_step_takes_no_slot_again_so_that_it_cannot_deadlock(offload: Offload) -> None:
    lock, held, arrived = threading.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            offload.release_cpu_slot()
            assert arrived.wait(10)

    def need() -> None:
        with lock:
            pass

    holder = asyncio.create_task(offload.run(hold))
    await asyncio.to_thread(held.wait, 10)
    waiting = [asyncio.create_task(offload.run(need)) for _ in range(2 * WORKERS)]
    await asyncio.sleep(0.1)
    arrived.set()
    await asyncio.wait_for(asyncio.gather(holder, *waiting), 10)


async def test_a_slot_is_released_after_a_failure(offload: Offload) -> None:
    def fail() -> None:
        offload.release_cpu_slot()
        raise OSError("gone")

    for _ in range(2 * WORKERS):
        with pytest.raises(OSError, match="gone"):
            await offload.run(fail)
    assert await asyncio.wait_for(offload.run(lambda: 1), 10) == 1


class _Crowd:
    """Counts how many threads are inside `work` at once."""

    def __init__(self) -> None:
        self._guard, self._inside, self.most = threading.Lock(), 0, 0

    def work(self) -> None:
        with self._guard:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(0.002)
        with self._guard:
            self._inside -= 1


async def test_steps_and_the_jobs_they_submit_share_the_slots(offload: Offload) -> None:
    crowd = _Crowd()

    def step() -> int:
        jobs = [offload.submit(crowd.work) for _ in range(6)]
        crowd.work()
        return len([job.result() for job in jobs])

    assert await asyncio.wait_for(asyncio.gather(*(offload.run(step) for _ in range(8))), 30) == [6] * 8
    assert crowd.most == WORKERS


async def test_a_caller_computes_a_result_that_no_worker_has_begun(offload: Offload) -> None:
    met, free = threading.Barrier(WORKERS + 1), threading.Event()

    def step(number: int) -> int:
        met.wait(10)
        if number:  # this step keeps its slot
            return free.wait(10)
        try:
            job = offload.submit(threading.get_ident)
            assert not job.done()
            return job.result() == threading.get_ident()
        finally:
            free.set()

    steps = [asyncio.create_task(offload.run(step, number)) for number in range(WORKERS)]
    await asyncio.to_thread(met.wait, 10)
    assert await asyncio.wait_for(asyncio.gather(*steps), 10) == [True] * WORKERS


async def test_a_caller_that_waits_for_a_worker_gives_up_its_slot(offload: Offload) -> None:
    begun, free = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return free.wait(10)

    def step() -> bool:
        jobs = [offload.submit(work) for _ in range(WORKERS - 1)]  # with the step's own slot, these are all
        assert begun.wait(10)
        return all([job.result() for job in jobs])

    waiting = asyncio.create_task(offload.run(step))
    await asyncio.to_thread(begun.wait, 10)
    await asyncio.wait_for(offload.run(free.set), 10)
    assert await waiting


async def test_serving_steps_queue_only_behind_serving_steps(offload: Offload) -> None:
    inside, free = threading.Semaphore(0), threading.Event()

    def hold() -> bool:
        inside.release()
        return free.wait(10)

    others = [asyncio.create_task(offload.run(hold)) for _ in range(WORKERS + 1)]
    for _ in range(WORKERS):
        assert await asyncio.to_thread(inside.acquire, timeout=10)
    assert not await asyncio.to_thread(inside.acquire, timeout=0.1)
    serving = [asyncio.create_task(offload.serve(hold)) for _ in range(WORKERS + 1)]
    for _ in range(WORKERS):
        assert await asyncio.to_thread(inside.acquire, timeout=10)
    assert not await asyncio.to_thread(inside.acquire, timeout=0.1)
    free.set()
    assert all(await asyncio.gather(*others, *serving))


class _Bytes:
    """Stands for a buffer that a job reads, or makes."""


async def test_a_cancelled_job_frees_its_arguments(offload: Offload) -> None:
    def step() -> bool:
        offload.submit(time.sleep, 0)
        data = _Bytes()
        gone = weakref.ref(data)
        jobs = [offload.submit(id, data) for _ in range(4)]
        del data
        for job in jobs:
            assert job.cancel() or job.result()
            with pytest.raises(CancelledError) if job.cancelled() else contextlib.nullcontext():
                job.result()
        return gone() is None

    assert await asyncio.wait_for(asyncio.gather(*(offload.run(step) for _ in range(4))), 10) == [True] * 4


async def test_a_failure_is_raised_by_result(offload: Offload) -> None:
    def fail() -> None:
        raise OSError("gone")

    def step() -> None:
        offload.submit(fail).result()

    for _ in range(2 * WORKERS):
        with pytest.raises(OSError, match="gone"):
            await offload.run(step)


@pytest.mark.parametrize("who", ["who asks", "a worker"])
async def test_a_failure_leaves_no_reference_cycle(offload: Offload, who: str) -> None:
    def fail(_: _Bytes) -> None:
        raise OSError("gone")

    def step() -> bool:
        data = _Bytes()
        gone = weakref.ref(data)
        job = offload.submit(fail, data)
        if who == "a worker":
            offload.release_cpu_slot()
            wait([job], 10)
        with contextlib.suppress(OSError):
            job.result()
        del job, data
        return gone() is None

    gc.disable()
    try:
        assert await offload.run(step)
    finally:
        gc.enable()


async def test_a_result_computed_by_the_caller_is_freed_without_a_slot(offload: Offload) -> None:
    met, free = threading.Barrier(WORKERS), threading.Event()

    def hold() -> bool:
        met.wait(10)
        return free.wait(10)

    def step() -> bool:
        met.wait(10)
        try:
            job = offload.submit(_Bytes)
            made = weakref.ref(job.result())
            del job
            return made() is None
        finally:
            free.set()

    others = [asyncio.create_task(offload.run(hold)) for _ in range(WORKERS - 1)]
    assert await asyncio.wait_for(offload.run(step), 10)
    assert all(await asyncio.gather(*others))


CAUSE: ContextVar[str] = ContextVar("cause", default="nobody")


@pytest.mark.parametrize("how", ["run", "serve", "io", "background", "submit"])
async def test_workers_run_in_a_copy_of_the_callers_context(offload: Offload, how: str) -> None:
    """Context variables carry the request's id into every line of the log."""

    async def ask(cause: str) -> str:
        CAUSE.set(cause)
        if how != "submit":
            return await getattr(offload, how)(CAUSE.get)
        return await offload.run(lambda: offload.submit(CAUSE.get).result())

    causes = [f"request-{number}" for number in range(20)]
    assert await asyncio.gather(*(ask(cause) for cause in causes)) == causes
    assert await offload.io(CAUSE.get) == "nobody"


async def test_releasing_a_slot_does_nothing_on_other_threads(offload: Offload) -> None:
    def pause() -> int:
        offload.release_cpu_slot()
        return 1

    assert pause() == await offload.io(pause) == await asyncio.wrap_future(offload.submit(pause)) == 1


def test_a_process_of_low_priority_keeps_it() -> None:
    """Only root may raise a priority, so workers of a process that was started with `nice` must not try."""
    program = """
import asyncio, os, threading
from sidecar.runtime.offload import Offload

def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

async def main() -> None:
    offload = Offload(1)
    print(await offload.run(priority), await offload.io(priority))
    offload.close()

os.nice(19)
asyncio.run(main())
"""
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    lowered = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 19)  # The tests themselves may run at any priority.
    assert printed.split() == [str(lowered)] * 2
