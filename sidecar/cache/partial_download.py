"""A file that is read while it is downloaded: a reader waits for the bytes that it needs, not for the whole file."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

# The initial throttle. During its first 0.2 seconds a download stays at most 512 KiB ahead of its readers, because a
# client waits for its first byte and the readers' work must come first. Further bytes wait in the socket meanwhile.
_THROTTLE_SECONDS = 0.2
_THROTTLE_BYTES = 512 << 10


class PartialDownload:
    """The progress of one download. The event loop reports it; workers and tasks wait for it."""

    def __init__(self, release_slot: Callable[[], None]) -> None:
        """``release_slot`` (`Offload.release_cpu_slot`) is called before a worker waits. Made on the event loop."""
        self._release_slot = release_slot
        self._length = self._wanted = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._throttle_end = self._loop.time() + _THROTTLE_SECONDS

    async def advance(self, length: int) -> None:
        """Reports that the first ``length`` bytes are in the file. Returns when the next bytes may be written."""
        with self._changed:
            self._length = length
            self._changed.notify_all()
        self._wake()
        while self._length >= self._wanted + _THROTTLE_BYTES and self._loop.time() < self._throttle_end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._throttle_end):
                    await self._event.wait()

    def fail(self, error: BaseException) -> None:
        """Reports that the download failed; readers raise ``error``. Call it on the event loop."""
        with self._changed:
            self._error = error
            self._changed.notify_all()
        self._wake()

    async def reached(self, length: int) -> None:
        """Returns when the file has its first ``length`` bytes. Raises the error with which the download failed."""
        self._want(length)
        while not self._there(length):
            await self._event.wait()

    def wait(self, length: int) -> None:
        """As `reached`, for a worker. A disk worker must not call it, because disk workers write the file."""
        if self._length >= length:
            return
        self._release_slot()
        self._loop.call_soon_threadsafe(self._want, length)
        with self._changed:
            self._changed.wait_for(lambda: self._there(length))

    def _want(self, length: int) -> None:
        if length > self._wanted:
            self._wanted = length
            self._wake()

    def _there(self, length: int) -> bool:
        if self._length >= length:
            return True
        if self._error is not None:
            raise self._error
        return False

    def _wake(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()
