"""Who may write a repository's manifests when: many pushes at once, or one rewriting of records alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from reducto.oci.names import RepositoryName


@dataclass(slots=True)
class _Turn:
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    writers: int = 0
    alone: bool = False
    users: int = 0


class Turns:
    """Turns within this process, by repository. What other replicas do must be looked at again before each step."""

    def __init__(self) -> None:
        self._turns: dict[RepositoryName, _Turn] = {}

    @asynccontextmanager
    async def shared(self, repository: RepositoryName) -> AsyncIterator[None]:
        """Together with others who share, while nobody is alone."""
        async with self._of(repository) as turn:
            async with turn.changed:
                await turn.changed.wait_for(lambda: not turn.alone)
                turn.writers += 1
            try:
                yield
            finally:
                async with turn.changed:
                    turn.writers -= 1
                    turn.changed.notify_all()

    @asynccontextmanager
    async def alone(self, repository: RepositoryName) -> AsyncIterator[None]:
        """While nobody else writes: for short steps only."""
        async with self._of(repository) as turn:
            async with turn.changed:
                await turn.changed.wait_for(lambda: not turn.alone)
                turn.alone = True
            try:
                async with turn.changed:
                    await turn.changed.wait_for(lambda: not turn.writers)
                yield
            finally:
                async with turn.changed:
                    turn.alone = False
                    turn.changed.notify_all()

    @asynccontextmanager
    async def _of(self, repository: RepositoryName) -> AsyncIterator[_Turn]:
        turn = self._turns.setdefault(repository, _Turn())
        turn.users += 1
        try:
            yield turn
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[repository]
