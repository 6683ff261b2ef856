"""Read-write locks: pushes share a lock, a rewriting holds it alone, and a cancelled waiter leaves it unchanged."""

from __future__ import annotations

import asyncio

import pytest

from reducto.oci.names import RepositoryName
from sidecar.records.locks import ReadWriteLocks

APP, OTHER = RepositoryName("app"), RepositoryName("other")


async def test_pushes_share_the_lock_and_a_rewriting_is_alone() -> None:
    locks, log = ReadWriteLocks(), []

    async def write(name: str) -> None:
        async with locks.shared(APP):
            log.append(f"{name} begins")
            await asyncio.sleep(0.01)
            log.append(f"{name} ends")

    async def rewrite() -> None:
        async with locks.exclusive(APP):
            log.append("alone begins")
            await asyncio.sleep(0.01)
            log.append("alone ends")

    first = [asyncio.create_task(write(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    rewriting = asyncio.create_task(rewrite())
    await asyncio.sleep(0.001)
    late = asyncio.create_task(write("c"))
    async with locks.exclusive(OTHER):
        log.append("another repository")
    await asyncio.gather(*first, rewriting, late)
    assert log[:3] == ["a begins", "b begins", "another repository"]
    assert log[5:] == ["alone begins", "alone ends", "c begins", "c ends"]


async def test_a_cancelled_waiter_leaves_the_lock_unchanged() -> None:
    locks = ReadWriteLocks()
    async with locks.shared(APP):
        waiting = asyncio.create_task(locks.exclusive(APP).__aenter__())
        await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(1), locks.shared(APP):
            pass
    async with asyncio.timeout(1), locks.exclusive(APP):
        pass
    assert not locks._locks
