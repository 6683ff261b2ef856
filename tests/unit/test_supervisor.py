"""Background tasks that fail are logged, counted, started again, and named while they keep failing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from sidecar.runtime import supervisor as supervisor_module
from sidecar.runtime.supervisor import FAILURES_UNTIL_REPORTED, GrowingPauses, Supervisor
from tests.support.sidecar_rig import until

QUICK = GrowingPauses(first_seconds=0.002, longest_seconds=0.02)


class Lines(logging.Handler):
    """The fields of every line that the sidecar logs."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, dict), record.msg
        self.all.append(record.msg)

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.all if line["event"] == event]


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, lines = logging.getLogger("reducto.sidecar"), Lines()
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(lines)
    logger.setLevel(level)


@pytest.fixture
def failures() -> Counter:
    return Counter("failures", "Failures by task.", ["task"], registry=CollectorRegistry())


@pytest.fixture
async def supervisor(failures: Counter) -> AsyncIterator[Supervisor]:
    made = Supervisor(failures, QUICK)
    yield made
    await made.stop()


def count(failures: Counter, task: str) -> float:
    return float(failures.labels(task=task)._value.get())


async def test_a_task_that_raises_is_logged_counted_and_started_again(
    supervisor: Supervisor, failures: Counter, lines: Lines
) -> None:
    calls, working = 0, asyncio.Event()

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls <= 4:
            raise ValueError(f"malformed {calls}")
        working.set()
        await asyncio.Event().wait()

    supervisor.run("reader", work)
    await asyncio.wait_for(working.wait(), 10)
    assert count(failures, "reader") == 4
    told = lines.named("background-task-failed")
    assert [line["failures_in_a_row"] for line in told] == [1, 2, 3, 4]
    assert {line["task"] for line in told} == {"reader"}
    assert told[0]["error"] == "ValueError: malformed 1"
    assert "raise ValueError" in told[0]["trace"]
    assert 0.001 <= told[0]["restart_seconds"] <= 0.002
    assert 0.008 <= told[3]["restart_seconds"] <= 0.016


@pytest.mark.parametrize("how", ["returns", "is cancelled from inside"])
async def test_a_task_that_ends_without_an_error_is_started_again(
    supervisor: Supervisor, failures: Counter, lines: Lines, how: str
) -> None:
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if how != "returns":
            other = asyncio.create_task(asyncio.sleep(10))
            other.cancel()
            await other

    supervisor.run("reader", work)
    await until(lambda: calls >= 3)
    assert count(failures, "reader") >= 2
    assert lines.named("background-task-failed")[0]["error"].startswith("TaskEnded: ")


async def test_a_failing_step_does_not_stop_other_tasks(supervisor: Supervisor, failures: Counter) -> None:
    good = 0

    async def fail() -> None:
        raise OSError("no disk")

    async def step() -> None:
        nonlocal good
        good += 1

    supervisor.every("bad", 0.001, fail)
    supervisor.every("good", 0.001, step)
    await until(lambda: good >= 20 and count(failures, "bad") >= 3)
    assert count(failures, "good") == 0


async def test_readiness_names_a_task_from_the_third_failure_in_a_row_until_it_works_again(
    supervisor: Supervisor, lines: Lines
) -> None:
    broken, calls = True, 0
    reported: list[int] = []

    async def step() -> None:
        nonlocal calls
        calls += 1
        if supervisor.failing(needed_to_serve=True):
            reported.append(calls)
        if broken:
            raise ValueError("Expecting value: line 1")

    supervisor.every("listing", 0.001, step, needed_to_serve=True)
    await until(lambda: calls >= FAILURES_UNTIL_REPORTED + 2)
    assert reported[0] == FAILURES_UNTIL_REPORTED + 1, "two failures may pass by themselves"
    (problem,) = supervisor.failing(needed_to_serve=True).values()
    assert problem.startswith(f"failed {calls} times in a row, for 0 s; the latest error: ValueError: Expecting value")
    assert supervisor.failing(needed_to_serve=False) == {}
    broken = False
    await until(lambda: not supervisor.failing(needed_to_serve=True))
    (line,) = lines.named("background-task-recovered")
    assert line["task"] == "listing"


async def test_a_step_that_had_nothing_to_do_says_nothing_about_failures(supervisor: Supervisor) -> None:
    calls = 0

    async def step() -> bool:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise ValueError("the one that waits is broken")
        return False

    supervisor.every("queue", 0.001, step)
    await until(lambda: bool(supervisor.failing(needed_to_serve=False)))
    assert calls >= 3 * FAILURES_UNTIL_REPORTED


async def test_a_good_run_begins_a_new_row(
    supervisor: Supervisor, failures: Counter, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "GOOD_RUN_SECONDS", 0.05)

    async def work() -> None:
        if count(failures, "reader") == 3:
            await asyncio.sleep(0.06)
        raise ValueError("again")

    supervisor.run("reader", work)
    await until(lambda: count(failures, "reader") >= 5)
    rows = [line["failures_in_a_row"] for line in lines.named("background-task-failed")]
    assert rows[:5] == [1, 2, 3, 1, 2]


async def test_steps_begin_after_a_pause_or_at_once(supervisor: Supervisor) -> None:
    called: list[str] = []

    async def note(name: str) -> None:
        called.append(name)

    supervisor.every("later", 3600.0, lambda: note("later"))
    supervisor.every("now", 3600.0, lambda: note("now"), at_once=True)
    await asyncio.sleep(0.05)
    assert called == ["now"]


async def test_a_step_that_failed_is_not_left_until_its_next_turn(supervisor: Supervisor) -> None:
    calls = 0

    async def step() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("once")

    supervisor.every("hourly", 3600.0, step, at_once=True)
    await until(lambda: calls == 2)


async def test_stopping_ends_all_and_counts_nothing(failures: Counter) -> None:
    supervisor, ended = Supervisor(failures, QUICK), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def fail() -> None:
        raise ValueError("at once")

    supervisor.run("work", work)
    supervisor.run("fail", fail)
    await until(lambda: count(failures, "fail") > 0)
    await asyncio.wait_for(supervisor.stop(), 10)
    failed = count(failures, "fail")
    await asyncio.sleep(0.05)
    assert (ended, count(failures, "work"), count(failures, "fail")) == (["work"], 0, failed)


async def test_names_are_used_once(supervisor: Supervisor) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    supervisor.run("one", work)
    with pytest.raises(ValueError, match="two background tasks are called one"):
        supervisor.run("one", work)


def test_pauses_grow_to_a_limit() -> None:
    pauses = GrowingPauses(first_seconds=1.0, longest_seconds=300.0)
    for failures, longest in ((1, 1.0), (2, 2.0), (5, 16.0), (10, 300.0), (10_000, 300.0)):
        drawn = [pauses.after(failures) for _ in range(200)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
