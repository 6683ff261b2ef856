"""Candidates for references: the layer corpora of a new layer's scope that share most hooks with it.

The scope is a security boundary. Corpora of other scopes are neither looked up nor fetched, so that neither sizes nor
delays tell one tenant anything about another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reducto.config import Scope
from reducto.oci.names import RepositoryName
from reducto.values import ChunkId, CorpusId
from sidecar.records.format import CorpusBlob, LayerRecord
from sidecar.similarity.hook_index import HookIndex, unpack_hooks


def most_similar(layer: LayerRecord, others: Iterable[LayerRecord], limit: int) -> list[LayerRecord]:
    """At most ``limit`` of ``others``, those most similar to ``layer`` first, and equals in the order given.

    Two layers are the more similar, the more bytes the corpora have that both need. Layers without one are left out.
    """
    lengths = {corpus.corpus_id: corpus.plain_length for corpus in layer.corpora}
    lengths |= dict.fromkeys(layer.bases, 1)
    found: list[tuple[int, LayerRecord]] = []
    for other in others:
        names = [*(corpus.corpus_id for corpus in other.corpora), *other.bases]
        score = sum(lengths.get(name, 0) for name in names)
        if score and other.digest != layer.digest:
            found.append((score, other))
    return [other for _, other in sorted(found, key=lambda pair: -pair[0])[:limit]]


class SimilarCorpora:
    """The layer corpora of every scope: where they lie, and which of them resemble a new layer."""

    def __init__(self, index: HookIndex, scope: Scope) -> None:
        self.index = index
        self._scope = scope

    def scope_of(self, repository: RepositoryName) -> str:
        """The name of the scope that a repository belongs to."""
        match self._scope:
            case Scope.REPOSITORY:
                return f"repository {repository}"
            case Scope.NAMESPACE:
                return f"namespace {repository.namespace}"
            case _:
                return "registry"

    def learn(self, repository: RepositoryName, layer: LayerRecord) -> None:
        """Adds the corpora that a record names to the hook index."""
        scope = self.scope_of(repository)
        for corpus in layer.corpora:
            source = _encode(repository, corpus)
            if corpus.hooks and self.index.source(scope, corpus.corpus_id) != source:
                self.index.add(scope, corpus.corpus_id, unpack_hooks(corpus.hooks), source)

    def find(self, repository: RepositoryName, corpus_id: CorpusId) -> tuple[RepositoryName, CorpusBlob] | None:
        """The repository in which a corpus of this scope lies, and its blob; None for an unknown corpus."""
        source = self.index.source(self.scope_of(repository), corpus_id)
        return _decode(source) if source is not None else None

    def closure(
        self, repository: RepositoryName, corpus_id: CorpusId
    ) -> list[tuple[RepositoryName, CorpusBlob]] | None:
        """The corpus and all its ancestors, parents first; None when one of them is unknown or they are nested deeper
        than 8."""
        ordered: dict[CorpusId, tuple[RepositoryName, CorpusBlob]] = {}

        def visit(name: CorpusId, depth: int) -> bool:
            if name in ordered:
                return True
            found = self.find(repository, name)
            if found is None or depth > 8:
                return False
            if not all(visit(parent, depth + 1) for parent in found[1].parents):
                return False
            ordered[name] = found
            return True

        return list(ordered.values()) if visit(corpus_id, 0) else None

    def rank(self, repository: RepositoryName, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        """At most ``limit`` corpora of the scope that hold any of the hooks, those that hold most first."""
        return self.index.rank(self.scope_of(repository), hooks, limit)

    def forget(self, repository: RepositoryName, corpus_id: CorpusId) -> None:
        """Removes the corpus from the hook index, so that it is not proposed until a record names it again."""
        self.index.forget(self.scope_of(repository), corpus_id)


def _encode(repository: RepositoryName, corpus: CorpusBlob) -> bytes:
    return json.dumps({"repository": repository.name, "corpus": replace(corpus, hooks=b"").to_json()}).encode()


def _decode(source: bytes) -> tuple[RepositoryName, CorpusBlob]:
    document = json.loads(source)
    return RepositoryName(document["repository"]), CorpusBlob.from_json(document["corpus"])
