"""The corpora that one blob refers to, chosen while it is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reducto.codec.references import ReferenceCorpus, ReferenceSelector
from reducto.kernel.matching import ReferenceTable
from reducto.values import ChunkId, CorpusId


class ChosenReferences:
    """Chosen corpora in the order of their numbers: number n of ``table`` is item n - 1 of `corpora`.

    Together with the corpora that they need themselves, and the blob's own, they are at most ``limit``, because a pull
    has to fetch all of them.
    """

    def __init__(self, selector: ReferenceSelector, table: ReferenceTable, limit: int) -> None:
        self._selector = selector
        self._table = table
        self._limit = limit
        self.corpora: list[ReferenceCorpus] = []

    @property
    def left(self) -> int:
        """How many more corpora may be chosen."""
        return self._limit - 1 - len(self.corpora)

    def choose(self, hooks: Sequence[ChunkId]) -> None:
        """Adds the corpora that share most of ``hooks``, as far as they and what they need fit under the limit."""
        for reference in self._selector.select_similar(hooks, self.left):
            known = {each.corpus.id for each in self.corpora}
            closure = self._closure([*self.corpora, reference])
            if reference.corpus.id in known or len(closure) >= self._limit:
                continue
            corpus = reference.corpus
            self._table.add(corpus.plain, (corpus.index.slots, corpus.index.home_slots))
            self.corpora.append(reference)

    def identities(self, numbers: Iterable[int]) -> tuple[CorpusId, ...]:
        """The identities of the corpora with these numbers."""
        return tuple(self.corpora[number - 1].corpus.id for number in numbers)

    def needs(self, numbers: Iterable[int]) -> tuple[CorpusId, ...]:
        """The identities of the corpora with these numbers and of all that they need, sorted."""
        return tuple(sorted(self._closure(self.corpora[number - 1] for number in numbers)))

    @staticmethod
    def _closure(references: Iterable[ReferenceCorpus]) -> set[CorpusId]:
        return {need for r in references for need in (r.corpus.id, *r.requires)}
