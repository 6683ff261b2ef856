"""Jobs run in order on the workers of a shared pool."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from reducto.workers import SerialExecutor


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def test_jobs_run_one_after_the_other_in_order(pool: ThreadPoolExecutor) -> None:
    executor, alone, seen = SerialExecutor(pool.submit), threading.Lock(), list[int]()

    def job(number: int) -> None:
        assert alone.acquire(blocking=False)
        time.sleep(0.0005)
        seen.append(number)
        alone.release()

    for number in range(100):
        executor.put(lambda number=number: job(number))  # type: ignore[misc]
    executor.drain()
    assert seen == list(range(100))


def test_no_more_jobs_wait_than_its_depth(pool: ThreadPoolExecutor) -> None:
    executor, done = SerialExecutor(pool.submit, depth=3), list[int]()
    for number in range(20):
        executor.put(lambda number=number: (time.sleep(0.001), done.append(number)))  # type: ignore[misc, func-returns-value]
        assert len(done) >= number + 1 - 3
    executor.drain()


def test_a_full_pool_cannot_lock_up() -> None:
    with ThreadPoolExecutor(1) as pool:

        def step() -> list[int]:
            executor, seen = SerialExecutor(pool.submit), list[int]()
            for number in range(20):
                executor.put(lambda number=number: seen.append(number))  # type: ignore[misc]
            executor.drain()
            return seen

        assert pool.submit(step).result(10) == list(range(20))


def test_without_workers_a_job_runs_at_once() -> None:
    seen: list[int] = []
    SerialExecutor(None).put(lambda: seen.append(1))
    assert seen == [1]


def test_the_first_failure_stops_the_lane(pool: ThreadPoolExecutor) -> None:
    executor, seen = SerialExecutor(pool.submit), list[int]()

    def fail() -> None:
        raise OSError("full")

    with contextlib.suppress(OSError):  # raised here or later, when a worker has run the job
        executor.put(fail)
    with pytest.raises(OSError, match="full"):
        executor.drain()
    with pytest.raises(OSError, match="full"):
        executor.put(lambda: seen.append(1))
    with pytest.raises(OSError, match="full"):
        executor.drain()
    assert not seen
