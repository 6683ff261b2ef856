"""Tasks that are awaited together, and tasks that go on by themselves until they are done.

Tasks that run for as long as the process does are `sidecar.runtime.supervisor`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """The results of all coroutines, which run concurrently.

    When one fails, its error is raised only after all have ended, so that none goes on unseen.
    """
    ended = await asyncio.gather(*work, return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return [result for result in ended if not isinstance(result, BaseException)]


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancels the task if it still runs, and returns when it has ended. Its result or error is dropped."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Tasks:
    """Keeps references to running tasks that nobody awaits, since asyncio itself keeps only weak ones."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a task for ``work``. The task inherits the context variables, such as the request's id."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def stop(self) -> None:
        """Cancels all tasks, and returns when they have ended."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
