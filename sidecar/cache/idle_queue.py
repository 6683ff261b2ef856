"""What was stored as fast as could be and is looked at again when nothing else runs: corpora to pack harder, layers to
compare with older ones.

It outlives the process in a file, as what was served does (`HintFile`):

    {"version": 1, "repositories": {"team/app": {"corpora": ["0123...", ...], "layers": ["sha256:...", ...]}}}

Whatever is lost of it stays as it was stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from reducto.oci.names import RepositoryName
from reducto.values import CorpusId, Digest, parse_corpus_id
from sidecar.cache.state_file import HintFile

_VERSION = 1


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


class Waiting:
    """One per process. ``wanted``: whether anybody will ever do the work."""

    def __init__(self, path: Path, wanted: bool) -> None:
        self._file = HintFile(path, _VERSION)
        self.wanted = wanted
        self._work: dict[RepositoryName, Work] = {}
        self._changed = False

    def note(self, repository: RepositoryName, corpora: Iterable[CorpusId], layer: Digest) -> None:
        """The layer, and corpora of its own, were stored."""
        if self.wanted:
            work = self._work.setdefault(repository, Work())
            work.corpora.update(corpora)
            work.layers.add(layer)
            self._changed = True

    def next(self) -> tuple[RepositoryName, Work] | None:
        """All that waits in one repository now, for somebody who says when it is `done`."""
        for repository, work in self._work.items():
            return repository, Work(set(work.corpora), set(work.layers))
        return None

    def done(self, repository: RepositoryName, work: Work) -> None:
        """This waits no more; what came meanwhile does."""
        left = self._work[repository]
        left.corpora -= work.corpora
        left.layers -= work.layers
        if not left.corpora and not left.layers:
            del self._work[repository]
        self._changed = True

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
