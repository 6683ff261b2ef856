"""A file on its way from the upstream: whoever needs its bytes waits for these, not for all of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class Arrival:
    """How much of one file is there. The event loop reports, workers and tasks wait."""

    def __init__(self, pause: Callable[[], None]) -> None:
        """``pause`` is called before a worker waits (`Offload.pause`)."""
        self._pause = pause
        self._length = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._event = asyncio.Event()
        self.opened = asyncio.Event()
        """Set when its reader has the file open, under whatever name it goes on."""

    def advance(self, length: int) -> None:
        """The first ``length`` bytes are there. On the event loop."""
        with self._changed:
            self._length = length
            self._changed.notify_all()
        self._wake()

    def fail(self, error: BaseException) -> None:
        """No more will come. On the event loop."""
        with self._changed:
            self._error = error
            self._changed.notify_all()
        self._wake()

    async def reached(self, length: int) -> None:
        """Returns when ``length`` bytes are there. Raises what the transfer failed with."""
        while not self._there(length):
            await self._event.wait()

    def wait(self, length: int) -> None:
        """As `reached`, for workers. Not for disk workers: they are who writes the file."""
        if self._length >= length:
            return
        self._pause()
        with self._changed:
            self._changed.wait_for(lambda: self._there(length))

    def _there(self, length: int) -> bool:
        if self._length >= length:
            return True
        if self._error is not None:
            raise self._error
        return False

    def _wake(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()
