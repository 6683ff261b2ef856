"""One read-write lock per repository.

Many pushes share the lock while they store manifests; a rewriting of records holds it alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from reducto.oci.names import RepositoryName


@dataclass(slots=True)
class _Lock:
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    writers: int = 0
    exclusive: bool = False
    users: int = 0


class ReadWriteLocks:
    """The locks of this process.

    Other replicas do not see these locks, so a rewriting reads each tag again just before it sets the tag.
    """

    def __init__(self) -> None:
        self._locks: dict[RepositoryName, _Lock] = {}

    @asynccontextmanager
    async def shared(self, repository: RepositoryName) -> AsyncIterator[None]:
        """Holds the lock together with all others who share it; waits while somebody holds it exclusively."""
        async with self._of(repository) as lock:
            async with lock.changed:
                await lock.changed.wait_for(lambda: not lock.exclusive)
                lock.writers += 1
            try:
                yield
            finally:
                async with lock.changed:
                    lock.writers -= 1
                    lock.changed.notify_all()

    @asynccontextmanager
    async def exclusive(self, repository: RepositoryName) -> AsyncIterator[None]:
        """Holds the lock alone. Keep the block short, because pushes to the repository wait meanwhile."""
        async with self._of(repository) as lock:
            async with lock.changed:
                await lock.changed.wait_for(lambda: not lock.exclusive)
                lock.exclusive = True
            try:
                async with lock.changed:
                    await lock.changed.wait_for(lambda: not lock.writers)
                yield
            finally:
                async with lock.changed:
                    lock.exclusive = False
                    lock.changed.notify_all()

    @asynccontextmanager
    async def _of(self, repository: RepositoryName) -> AsyncIterator[_Lock]:
        lock = self._locks.setdefault(repository, _Lock())
        lock.users += 1
        try:
            yield lock
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[repository]
