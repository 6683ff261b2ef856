"""Tasks that nobody awaits, and several that are awaited together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """What all give, run side by side. An error is raised when all have ended, so that none goes on unseen."""
    ended = await asyncio.gather(*work, return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return [result for result in ended if not isinstance(result, BaseException)]


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancels the task if it has not ended, and returns when it has, whatever came of it."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Tasks:
    """Tasks that run beside what began them, held until they end."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begins ``work``."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def stop(self) -> None:
        """Cancels all, and returns when they have ended."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
