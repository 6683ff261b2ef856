"""Which corpora a new layer may be compared with: those of its own scope, and the base corpora.

The scope is a security boundary. What lies outside is not looked up, not fetched and not timed, so that neither
sizes nor delays tell one tenant anything about another.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from reducto.config import Scope
from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName
from reducto.values import ChunkId, CorpusId
from sidecar.cache.corpora import Corpora
from sidecar.codec.interface import Codec, LocalCorpus
from sidecar.records.format import CorpusBlob, LayerRecord
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.similarity.hook_index import HookIndex, unpack_hooks
from sidecar.upstream.base import Caller
from sidecar.upstream.client import Refused

_FETCH_TIMEOUT_SECONDS = 120.0


def most_related(layer: LayerRecord, others: Iterable[LayerRecord], limit: int) -> list[LayerRecord]:
    """At most ``limit`` of the others that have most in common with a layer, by the corpora that both need; among
    equals the first."""
    lengths = {corpus.corpus_id: corpus.plain_length for corpus in layer.corpora}
    lengths |= dict.fromkeys(layer.bases, 1)
    found: list[tuple[int, LayerRecord]] = []
    for other in others:
        names = [*(corpus.corpus_id for corpus in other.corpora), *other.bases]
        score = sum(lengths.get(name, 0) for name in names)
        if score and other.digest != layer.digest:
            found.append((score, other))
    return [other for _, other in sorted(found, key=lambda pair: -pair[0])[:limit]]


class Relatives:
    """What is known of layer corpora by scope, on top of the hook index."""

    def __init__(self, index: HookIndex, scope: Scope) -> None:
        self._index = index
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
        """Notes the corpora that a record names."""
        scope = self.scope_of(repository)
        for corpus in layer.corpora:
            source = _encode(repository, corpus)
            if corpus.hooks and self._index.source(scope, corpus.corpus_id) != source:
                self._index.add(scope, corpus.corpus_id, unpack_hooks(corpus.hooks), source)

    def find(self, repository: RepositoryName, corpus_id: CorpusId) -> tuple[RepositoryName, CorpusBlob] | None:
        """Where a corpus of the repository's scope lies."""
        source = self._index.source(self.scope_of(repository), corpus_id)
        return _decode(source) if source is not None else None

    def closure(
        self, repository: RepositoryName, corpus_id: CorpusId
    ) -> list[tuple[RepositoryName, CorpusBlob]] | None:
        """The corpus with all that its packed form needs, parents first; None when a part is not known."""
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

    def elect(self, repository: RepositoryName, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        """Corpora of the scope that hold most of the hooks."""
        return self._index.elect(self.scope_of(repository), hooks, limit)

    def forget(self, repository: RepositoryName, corpus_id: CorpusId) -> None:
        """Never proposes the corpus again."""
        self._index.forget(self.scope_of(repository), corpus_id)


class UploadReferences:
    """The references of one upload: what its encoder may look into, fetched with its caller's rights.

    Called from workers. The first election waits for ``ready``: until the repository's records are known.
    """

    def __init__(
        self,
        caller: Caller,
        repository: RepositoryName,
        relatives: Relatives,
        corpora: Corpora,
        codec: Codec,
        ready: asyncio.Task[None],
        offload: Offload,
    ) -> None:
        self._caller = caller
        self._repository = repository
        self._relatives = relatives
        self._corpora = corpora
        self._codec = codec
        self._ready = ready
        self._offload = offload
        self._loop = asyncio.get_running_loop()

    def elect(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[tuple[LocalCorpus, frozenset[CorpusId]]]:
        """Corpora at hand for these hooks, best first; together with what they need never more than ``limit``."""
        self._wait(asyncio.shield(self._ready))
        chosen = [(corpus, frozenset[CorpusId]()) for corpus in self._elect_bases(hooks, limit)]
        needed: set[CorpusId] = {corpus.id for corpus, _ in chosen}
        for name in self._relatives.elect(self._repository, hooks, 2 * limit):
            closure = self._relatives.closure(self._repository, name)
            if closure is None:
                continue
            wanted = needed | {blob.corpus_id for _, blob in closure}
            if len(wanted) > limit:
                continue
            corpus = self._fetch(closure)
            if corpus is not None:
                chosen.append((corpus, frozenset(blob.corpus_id for _, blob in closure) - {name}))
                needed = wanted
        return chosen

    def _elect_bases(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[LocalCorpus]:
        bases: Mapping[CorpusId, LocalCorpus] = self._corpora.bases
        votes = Counter({name: self._codec.count_hooks(corpus, hooks) for name, corpus in bases.items()})
        return [bases[name] for name, count in votes.most_common(max(1, limit // 2)) if count]

    def _fetch(self, closure: list[tuple[RepositoryName, CorpusBlob]]) -> LocalCorpus | None:
        found: dict[CorpusId, LocalCorpus] = {}

        async def gather() -> None:
            for home, blob in closure:
                mapped = blob is closure[-1][1]
                found.update(await self._corpora.gather(self._caller, home, [blob], known=found, mapped=mapped))

        try:
            self._wait(gather())
        except (Refused, ReductoError, OSError, TimeoutError) as error:
            # A corpus that cannot be had is not used: the layer grows, the push goes on.
            last = closure[-1][1].corpus_id
            logs.event("corpus-not-at-hand", corpus=last, repository=str(self._repository), error=str(error)[:200])
            return None
        return found[closure[-1][1].corpus_id]

    def _wait(self, work: object) -> None:
        async def run() -> None:
            async with asyncio.timeout(_FETCH_TIMEOUT_SECONDS):
                await work  # type: ignore[misc]

        self._offload.pause()
        asyncio.run_coroutine_threadsafe(run(), self._loop).result()


def _encode(repository: RepositoryName, corpus: CorpusBlob) -> bytes:
    return json.dumps({"repository": repository.name, "corpus": replace(corpus, hooks=b"").to_json()}).encode()


def _decode(source: bytes) -> tuple[RepositoryName, CorpusBlob]:
    document = json.loads(source)
    return RepositoryName(document["repository"]), CorpusBlob.from_json(document["corpus"])
