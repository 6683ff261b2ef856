"""The work for idle hours: corpora to pack again at a higher level, and layers to compare with older ones.

The queue outlives the process in a `StateFile`:

    {"version": 1, "repositories": {"team/app": {"corpora": ["0123...", ...], "layers": ["sha256:...", ...]}}}

Corpora and layers whose entries are lost stay as they were stored at push.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from reducto.oci.names import RepositoryName
from reducto.values import CorpusId, Digest, parse_corpus_id
from sidecar.cache.state_file import StateFile
from sidecar.runtime.supervisor import GrowingPauses

_VERSION = 1
#: One try can take thousands of requests, so a repository whose work keeps failing is tried only four times a day.
RETRY_PAUSES = GrowingPauses(first_seconds=60.0, longest_seconds=6 * 3600.0)


@dataclass(slots=True)
class Work:
    """The work that waits in one repository."""

    corpora: set[CorpusId] = field(default_factory=set)
    layers: set[Digest] = field(default_factory=set)

    def to_json(self) -> dict[str, list[str]]:
        """The work as the file has it."""
        return {"corpora": sorted(self.corpora), "layers": sorted(map(str, self.layers))}

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """The work from `to_json`. Raises `KeyError`, `TypeError`, `UsageError`."""
        return cls({parse_corpus_id(name) for name in item["corpora"]}, {Digest.parse(name) for name in item["layers"]})


class _Retry(NamedTuple):
    """A repository whose work failed."""

    failures: int
    due: float
    """The time from which on it is tried again, on the clock `time.monotonic`."""


class IdleQueue:
    """The queue of all repositories. One per process."""

    def __init__(self, path: Path, wanted: bool) -> None:
        """``wanted`` is false if this sidecar never works on the queue; the queue then stays empty."""
        self._file = StateFile(path, _VERSION)
        self.wanted = wanted
        self._work: dict[RepositoryName, Work] = {}
        self._changed = False
        self._retries: dict[RepositoryName, _Retry] = {}
        self.retry_pauses = RETRY_PAUSES

    def note(self, repository: RepositoryName, corpora: Iterable[CorpusId], layer: Digest) -> None:
        """Adds a layer that was stored, and the corpora that were stored with it."""
        if self.wanted:
            work = self._work.setdefault(repository, Work())
            work.corpora.update(corpora)
            work.layers.add(layer)
            self._changed = True

    def next(self) -> tuple[RepositoryName, Work] | None:
        """A repository and all work that waits in it now; None if there is none to do.

        The caller then calls `done` or `postpone` for the repository.
        """
        now = time.monotonic()
        for repository, work in self._work.items():
            if repository not in self._retries or self._retries[repository].due <= now:
                return repository, Work(set(work.corpora), set(work.layers))
        return None

    def postpone(self, repository: RepositoryName) -> float:
        """Notes that the repository's work failed. Returns the seconds after which `next` gives it again, which grow
        with each failure."""
        failures = self._retries[repository].failures + 1 if repository in self._retries else 1
        pause_seconds = self.retry_pauses.after(failures)
        self._retries[repository] = _Retry(failures, time.monotonic() + pause_seconds)
        return pause_seconds

    def done(self, repository: RepositoryName, work: Work) -> None:
        """Removes ``work`` from the queue. Work that was added after `next` gave it stays."""
        self._retries.pop(repository, None)
        left = self._work[repository]
        left.corpora -= work.corpora
        left.layers -= work.layers
        if not left.corpora and not left.layers:
            del self._work[repository]
        self._changed = True

    @property
    def repositories(self) -> list[RepositoryName]:
        """The repositories in which work waits."""
        return list(self._work)

    @property
    def corpora(self) -> int:
        """The number of corpora that wait to be packed again."""
        return sum(len(work.corpora) for work in self._work.values())

    @property
    def layers(self) -> int:
        """The number of layers that wait to be compared with older ones."""
        return sum(len(work.layers) for work in self._work.values())

    def restore(self) -> None:
        """Reads the queue that an earlier process left. Runs on a worker, before the first request."""
        if self.wanted:
            self._work = self._file.read(Work.from_json)

    def changes(self) -> bytes | None:
        """The new content of the file; None if the queue did not change since the last call."""
        if not self._changed:
            return None
        self._changed = False
        return self._file.encode({repository: work.to_json() for repository, work in self._work.items()})

    def write(self, data: bytes) -> None:
        """Writes the content from `changes`. Runs on a worker."""
        self._file.write(data)
