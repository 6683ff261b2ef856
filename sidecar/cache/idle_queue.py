"""What was stored as fast as could be and is looked at again when nothing else runs: corpora to pack harder, layers to
compare with older ones.

It outlives the process in a file, as what was served does (`StateFile`):

    {"version": 1, "repositories": {"team/app": {"corpora": ["0123...", ...], "layers": ["sha256:...", ...]}}}

Whatever is lost of it stays as it was stored.
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
#: A walk through a large repository is thousands of requests, so one that keeps failing is walked a few times a day.
RETRY_PAUSES = GrowingPauses(first_seconds=60.0, longest_seconds=6 * 3600.0)


@dataclass(slots=True)
class Work:
    """What waits in one repository."""

    corpora: set[CorpusId] = field(default_factory=set)
    layers: set[Digest] = field(default_factory=set)

    def to_json(self) -> dict[str, list[str]]:
        """As the file has it."""
        return {"corpora": sorted(self.corpora), "layers": sorted(map(str, self.layers))}

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """What `to_json` gave. Raises `KeyError`, `TypeError`, `UsageError`."""
        return cls({parse_corpus_id(name) for name in item["corpora"]}, {Digest.parse(name) for name in item["layers"]})


class _Retry(NamedTuple):
    """A repository whose work failed."""

    failures: int
    due: float
    """`time.monotonic` from which on it is tried again."""


class IdleQueue:
    """One per process. ``wanted``: whether anybody will ever do the work."""

    def __init__(self, path: Path, wanted: bool) -> None:
        self._file = StateFile(path, _VERSION)
        self.wanted = wanted
        self._work: dict[RepositoryName, Work] = {}
        self._changed = False
        self._retries: dict[RepositoryName, _Retry] = {}
        self.retry_pauses = RETRY_PAUSES

    def note(self, repository: RepositoryName, corpora: Iterable[CorpusId], layer: Digest) -> None:
        """The layer, and corpora of its own, were stored."""
        if self.wanted:
            work = self._work.setdefault(repository, Work())
            work.corpora.update(corpora)
            work.layers.add(layer)
            self._changed = True

    def next(self) -> tuple[RepositoryName, Work] | None:
        """All that waits in one repository now, for a caller who then says that it is `done`, or who `postpone`s it."""
        now = time.monotonic()
        for repository, work in self._work.items():
            if repository not in self._retries or self._retries[repository].due <= now:
                return repository, Work(set(work.corpora), set(work.layers))
        return None

    def postpone(self, repository: RepositoryName) -> float:
        """The work failed: `next` gives it again after the seconds that are returned, more after each failure."""
        failures = self._retries[repository].failures + 1 if repository in self._retries else 1
        pause_seconds = self.retry_pauses.after(failures)
        self._retries[repository] = _Retry(failures, time.monotonic() + pause_seconds)
        return pause_seconds

    def done(self, repository: RepositoryName, work: Work) -> None:
        """This waits no more; what came meanwhile does."""
        self._retries.pop(repository, None)
        left = self._work[repository]
        left.corpora -= work.corpora
        left.layers -= work.layers
        if not left.corpora and not left.layers:
            del self._work[repository]
        self._changed = True

    @property
    def repositories(self) -> list[RepositoryName]:
        """Repositories in which anything waits."""
        return list(self._work)

    @property
    def corpora(self) -> int:
        """How many wait to be packed."""
        return sum(len(work.corpora) for work in self._work.values())

    @property
    def layers(self) -> int:
        """How many wait to be compared."""
        return sum(len(work.layers) for work in self._work.values())

    def restore(self) -> None:
        """Takes over what an earlier process left. For a worker, before anything is served."""
        if self.wanted:
            self._work = self._file.read(Work.from_json)

    def changes(self) -> bytes | None:
        """The file as it should be; None if nothing changed since last time."""
        if not self._changed:
            return None
        self._changed = False
        return self._file.encode({repository: work.to_json() for repository, work in self._work.items()})

    def write(self, data: bytes) -> None:
        """For a worker."""
        self._file.write(data)
