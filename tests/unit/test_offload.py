"""Worker threads: no more compute at once than there are workers, and who waits does not count."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from sidecar.runtime.offload import Offload

WORKERS = 2


@pytest.fixture
async def offload() -> AsyncIterator[Offload]:
    made = Offload(WORKERS)
    yield made
    await asyncio.to_thread(made.close)


async def test_steps_take_turns(offload: Offload) -> None:
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


async def test_a_step_that_waits_lets_another_compute(offload: Offload) -> None:
    arrived = threading.Event()

    def wait() -> bool:
        offload.pause()
        return arrived.wait(10)

    waiting = [asyncio.create_task(offload.run(wait)) for _ in range(WORKERS + 1)]
    await asyncio.sleep(0)
    await asyncio.wait_for(offload.run(arrived.set), 10)
    assert all(await asyncio.gather(*waiting))


async def test_a_step_that_has_waited_does_not_wait_for_those_who_wait_for_it(offload: Offload) -> None:
    lock, held, arrived = threading.Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            offload.pause()
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


async def test_a_turn_is_given_back_after_a_failure(offload: Offload) -> None:
    def fail() -> None:
        offload.pause()
        raise OSError("gone")

    for _ in range(2 * WORKERS):
        with pytest.raises(OSError, match="gone"):
            await offload.run(fail)
    assert await asyncio.wait_for(offload.run(lambda: 1), 10) == 1


async def test_pausing_is_nothing_elsewhere(offload: Offload) -> None:
    def pause() -> int:
        offload.pause()
        return 1

    assert pause() == await offload.io(pause) == await asyncio.wrap_future(offload.submit(pause)) == 1
