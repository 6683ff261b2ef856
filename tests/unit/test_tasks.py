"""Several tasks at once: an error is raised when all of them have ended."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.runtime.tasks import together


async def test_an_error_is_raised_when_all_have_ended() -> None:
    ended = []

    async def fail() -> str:
        raise ValueError("first")

    async def work(name: str) -> str:
        await asyncio.sleep(0.01)
        ended.append(name)
        return name

    with pytest.raises(ValueError, match="first"):
        await together(work("a"), fail(), work("b"))
    assert ended == ["a", "b"]
    assert await together(work("c"), work("d")) == ["c", "d"]
