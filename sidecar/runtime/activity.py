"""How many requests are being answered, and since when there are none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator


class Activity:
    """Requests on the data port. One per process, used on the event loop."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests being answered."""
        self.idle = asyncio.Event()
        """Set while there are none."""
        self._last_end = time.monotonic()
        self.idle.set()

    @property
    def quiet_seconds(self) -> float:
        """Seconds since the latest request ended, or since the start; other requests may still be in flight."""
        return time.monotonic() - self._last_end

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Counts one request for as long as the block runs."""
        self.in_flight += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            self._last_end = time.monotonic()
            if not self.in_flight:
                self.idle.set()
