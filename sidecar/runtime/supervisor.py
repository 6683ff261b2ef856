"""Keeps background tasks running: a task that fails is logged, counted and started again.

Everything that runs for as long as the process does is started here, so that no error can end it unseen:

    supervisor.every("hints", 15.0, sidecar.save_hints)       calls a step again and again
    supervisor.run("event-loop-delay", measure_delay)         calls a function that never returns
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from prometheus_client import Counter

from sidecar.runtime import logs
from sidecar.runtime.offload import clear_frames

#: From this many failures in a row on a task is reported by `Supervisor.failing`: one or two may pass by themselves.
FAILURES_UNTIL_REPORTED = 3
#: After a run of this length, a failure of a task of `Supervisor.run` is the first of a new row.
GOOD_RUN_SECONDS = 60.0
_ERROR_LIMIT_CHARS = 200

Work = Callable[[], Awaitable[None]]
#: Returns False when there was nothing to do, so that nothing can be said about failures.
Step = Callable[[], Awaitable[bool | None]]


@dataclass(frozen=True, slots=True)
class GrowingPauses:
    """How long to wait before something that failed is tried again: twice as long after each failure in a row.

    A pause is drawn from the upper half of that time, because replicas that fail together (their registry went away)
    would otherwise all come back at the same moment.
    """

    first_seconds: float
    longest_seconds: float

    def after(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row (at least 1)."""
        doublings = min(failures - 1, 32)  # 2**32 times any first pause is over its limit, and still a small number
        return min(self.first_seconds * 2.0**doublings, self.longest_seconds) * random.uniform(0.5, 1.0)  # noqa: S311


RESTART_PAUSES = GrowingPauses(first_seconds=1.0, longest_seconds=300.0)


class TaskEnded(RuntimeError):
    """A background task ended by itself although it should run for as long as the process does."""


class Supervisor:
    """Runs named background tasks. One per process, used on the event loop; `stop` it before what the tasks use."""

    def __init__(self, failures: Counter, pauses: GrowingPauses = RESTART_PAUSES) -> None:
        """``failures`` counts failures by the label ``task``."""
        self._failures = failures
        self._pauses = pauses
        self._tasks: dict[str, _BackgroundTask] = {}

    def run(self, name: str, work: Work, *, needed_to_serve: bool = False) -> None:
        """Calls ``work``, which should never return, and calls it again after each failure.

        ``needed_to_serve`` says that clients are no longer served well when the task keeps failing.
        """
        self._start(_BackgroundTask(name, work, needed_to_serve, GOOD_RUN_SECONDS))

    def every(
        self, name: str, seconds: float, step: Step, *, at_once: bool = False, needed_to_serve: bool = False
    ) -> None:
        """Calls ``step`` each time ``seconds`` after it last returned; first after ``seconds``, or ``at_once``.

        A step that failed is called again after a restart pause. A step that did something ends the row of failures.
        """

        async def repeat() -> None:
            if not (at_once or task.failures.count):
                await asyncio.sleep(seconds)
            while True:
                if await step() is not False:
                    task.failures.end()
                await asyncio.sleep(seconds)

        task = _BackgroundTask(name, repeat, needed_to_serve, good_run_seconds=math.inf)
        self._start(task)

    def failing(self, *, needed_to_serve: bool) -> dict[str, str]:
        """What is wrong with tasks that failed `FAILURES_UNTIL_REPORTED` times in a row or more, by their names."""
        return {
            task.name: task.problem
            for task in self._tasks.values()
            if task.failures.count >= FAILURES_UNTIL_REPORTED and task.needed_to_serve is needed_to_serve
        }

    async def stop(self) -> None:
        """Cancels all tasks, and returns when they have ended."""
        running = [task.running for task in self._tasks.values() if task.running is not None]
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # -- inside

    def _start(self, task: _BackgroundTask) -> None:
        if task.name in self._tasks:
            raise ValueError(f"two background tasks are called {task.name}")
        self._failures.labels(task=task.name)  # the scrape shows 0 failures rather than no such task
        self._tasks[task.name] = task
        task.running = asyncio.create_task(self._keep_running(task), name=task.name)

    async def _keep_running(self, task: _BackgroundTask) -> None:
        with logs.bound(task=task.name):
            while True:
                error = await task.next_failure()
                self._failures.labels(task=task.name).inc()
                pause_seconds = self._pauses.after(task.failures.count)
                logs.trouble(
                    "background-task-failed",
                    error,
                    failures_in_a_row=task.failures.count,
                    restart_seconds=round(pause_seconds, 3),
                )
                clear_frames(error)
                del error
                await asyncio.sleep(pause_seconds)


@dataclass(slots=True)
class _FailureRow:
    """Failures without a success between them."""

    count: int = 0
    since: float = 0.0
    """`time.monotonic` at the first of them."""
    latest: str = ""
    """The error of the latest of them."""

    def add(self, error: Exception) -> None:
        if not self.count:
            self.since = time.monotonic()
        self.count += 1
        self.latest = f"{type(error).__name__}: {error}"[:_ERROR_LIMIT_CHARS]

    def end(self) -> None:
        """The task works again, if it did not before."""
        if self.count:
            logs.event("background-task-recovered", failures_in_a_row=self.count)
            self.count = 0


@dataclass(slots=True)
class _BackgroundTask:
    name: str
    work: Work
    needed_to_serve: bool
    good_run_seconds: float
    running: asyncio.Task[None] | None = None
    failures: _FailureRow = field(default_factory=_FailureRow)

    async def next_failure(self) -> Exception:
        """Calls the work, and returns what it failed with. Raises `CancelledError` when the supervisor stops."""
        started = time.monotonic()
        try:
            await self.work()
            error: Exception = TaskEnded("the task returned")
        except asyncio.CancelledError:
            this_task = asyncio.current_task()
            if this_task is None or this_task.cancelling():
                raise
            error = TaskEnded("something that the task waited for was cancelled")
        except Exception as raised:
            error = raised
        if time.monotonic() - started >= self.good_run_seconds:
            self.failures.end()
        self.failures.add(error)
        return error

    @property
    def problem(self) -> str:
        """The failures in words, for `/health/ready`."""
        row = self.failures
        seconds = time.monotonic() - row.since
        return f"failed {row.count} times in a row, for {seconds:.0f} s; the latest error: {row.latest}"
