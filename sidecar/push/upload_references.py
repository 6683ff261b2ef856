"""The corpora to which the encoder of one upload may refer: similar corpora of its scope, and base corpora."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName
from reducto.oci.registry_errors import Refused
from reducto.values import ChunkId, CorpusId
from sidecar.cache.local_corpora import Corpora
from sidecar.codec.interface import Codec, LocalCorpus
from sidecar.records.format import CorpusBlob
from sidecar.records.repository import Repository
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.similarity.candidates import SimilarCorpora

_FETCH_TIMEOUT_SECONDS = 120.0


class UploadReferences:
    """The `ReferenceFinder` of one upload. It fetches corpora with the rights of the upload's caller."""

    def __init__(
        self,
        repository: Repository,
        similar: SimilarCorpora,
        corpora: Corpora,
        codec: Codec,
        ready: asyncio.Task[None],
        offload: Offload,
    ) -> None:
        """``ready`` ends when the repository's records have been read; the first `select_similar` waits for it."""
        self._repository = repository
        self._similar = similar
        self._corpora = corpora
        self._codec = codec
        self._ready = ready
        self._offload = offload
        self._loop = asyncio.get_running_loop()

    def select_similar(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[tuple[LocalCorpus, frozenset[CorpusId]]]:
        """The best corpora for these hooks, opened in mapped form, best first.

        Together with the ancestors that are needed to unpack them they are at most ``limit``. Runs on a worker.
        """
        self._wait(asyncio.shield(self._ready))
        chosen = [(corpus, frozenset[CorpusId]()) for corpus in self._select_bases(hooks, limit)]
        needed: set[CorpusId] = {corpus.id for corpus, _ in chosen}
        for name in self._similar.rank(self._repository.name, hooks, 2 * limit):
            closure = self._similar.closure(self._repository.name, name)
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

    def _select_bases(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[LocalCorpus]:
        bases: Mapping[CorpusId, LocalCorpus] = self._corpora.bases
        votes = Counter({name: self._codec.count_hooks(corpus, hooks) for name, corpus in bases.items()})
        return [bases[name] for name, count in votes.most_common(max(1, limit // 2)) if count]

    def _fetch(self, closure: list[tuple[RepositoryName, CorpusBlob]]) -> LocalCorpus | None:
        found: dict[CorpusId, LocalCorpus] = {}

        async def gather() -> None:
            for source, blob in closure:
                mapped = blob is closure[-1][1]
                repository = self._repository.bind(source)
                found.update(await self._corpora.gather(repository, [blob], known=found, mapped=mapped))

        try:
            self._wait(gather())
        except (Refused, ReductoError, OSError, TimeoutError) as error:
            # The push goes on without the corpus. The layer is then stored with more new bytes.
            last = closure[-1][1].corpus_id
            logs.event("corpus-not-fetched", corpus=last, repository=str(self._repository), error=str(error)[:200])
            return None
        return found[closure[-1][1].corpus_id]

    def _wait(self, work: object) -> None:
        async def run() -> None:
            async with asyncio.timeout(_FETCH_TIMEOUT_SECONDS):
                await work  # type: ignore[misc]

        self._offload.release_cpu_slot()
        asyncio.run_coroutine_threadsafe(run(), self._loop).result()
