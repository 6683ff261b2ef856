"""The one loop that tries something again, with growing pauses.

A kept library was considered (tenacity): it swallows what is raised at a `yield`, cancellation included, and keeps each
failure with its traceback in an object that the traceback refers to, which only the garbage collector would end.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often something is tried in all, and the pauses between."""

    attempts: int
    first_pause_seconds: float
    longest_pause_seconds: float = 60.0
    """Also the longest pause that a server may ask for: what would take longer is given up."""

    def pause_seconds(self, number: int) -> float:
        """The pause after attempt ``number``, counted from 0: twice as long each time, within half of that either way.

        The jitter keeps many requests that failed together from coming back together.
        """
        pause = self.first_pause_seconds * 2.0**number * (0.5 + random.random())  # noqa: S311 - no secret
        return min(pause, self.longest_pause_seconds)


class Attempt:
    """One of several attempts. Whoever makes it leaves the loop when it succeeded."""

    def __init__(self, policy: RetryPolicy, number: int) -> None:
        self._policy = policy
        self.number = number
        self.least_pause_seconds = 0.0

    @property
    def last(self) -> bool:
        """Whether no other attempt follows, because all were made or the pause asked for is too long."""
        return self.number >= self._policy.attempts - 1 or self.least_pause_seconds > self._policy.longest_pause_seconds

    def ask_for_pause(self, seconds: float) -> None:
        """The next attempt, if there is one, comes no earlier than in so many seconds."""
        self.least_pause_seconds = seconds


class Attempts:
    """``async for attempt in Attempts(policy)``: sleeps before every attempt but the first."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._latest: Attempt | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        latest = self._latest
        if latest is None:
            self._latest = Attempt(self._policy, 0)
        elif latest.last:
            raise StopAsyncIteration
        else:
            await asyncio.sleep(max(self._policy.pause_seconds(latest.number), latest.least_pause_seconds))
            self._latest = Attempt(self._policy, latest.number + 1)
        return self._latest


def retry_after_seconds(field: str | None) -> float:
    """The pause that ``Retry-After`` asks for, given in seconds or as a date; 0 without one that can be read."""
    text = (field or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
