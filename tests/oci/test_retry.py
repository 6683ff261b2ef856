"""Attempts: as many as the policy says, with the pauses that it or the server asks for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from reducto.oci.retry import Attempts, RetryPolicy, retry_after_seconds


async def test_attempts_end_and_the_last_one_knows() -> None:
    seen = [(attempt.number, attempt.last) async for attempt in Attempts(RetryPolicy(3, 0.001))]
    assert seen == [(0, False), (1, False), (2, True)]


async def test_who_leaves_the_loop_makes_no_further_attempt() -> None:
    numbers = []
    async for attempt in Attempts(RetryPolicy(3, 0.001)):
        numbers.append(attempt.number)
        if attempt.number == 1:
            break
    assert numbers == [0, 1]


def test_pauses_grow_and_have_a_limit() -> None:
    policy = RetryPolicy(9, 1.0, longest_pause_seconds=5.0)
    for number in range(9):
        pauses = [policy.pause_seconds(number) for _ in range(50)]
        assert min(pauses) >= min(5.0, 0.5 * 2**number)
        assert max(pauses) <= min(5.0, 1.5 * 2**number)
        assert len(set(pauses)) > 1 or number > 3


async def test_a_pause_that_was_asked_for_is_kept_to() -> None:
    started = time.monotonic()
    async for attempt in Attempts(RetryPolicy(2, 0.001)):
        attempt.ask_for_pause(0.2)
    assert time.monotonic() - started >= 0.2


async def test_a_pause_beyond_the_limit_ends_the_attempts() -> None:
    count = 0
    async for attempt in Attempts(RetryPolicy(5, 0.001, longest_pause_seconds=10.0)):
        attempt.ask_for_pause(11.0)
        assert attempt.last
        count += 1
    assert count == 1


@pytest.mark.parametrize("field", [None, "", "soon", "-3", "1_0", "\u0663", "Sun, 99 Nov 2026 00:00:00 GMT"])
def test_what_is_no_pause(field: str | None) -> None:
    assert retry_after_seconds(field) == 0.0


def test_pauses_in_seconds_and_as_a_date() -> None:
    assert retry_after_seconds(" 120 ") == 120.0
    ahead = datetime.now(UTC) + timedelta(seconds=90)
    assert 80 < retry_after_seconds(format_datetime(ahead, usegmt=True)) <= 90
    assert retry_after_seconds(format_datetime(ahead - timedelta(days=2), usegmt=True)) == 0.0
