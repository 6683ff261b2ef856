"""Older layers at hand, whose tokens help to rebuild a newer one (`reducto.gzip.donor`).

An edge that served last week's image has its layers in the cache. When this week's is pulled, the most related of them
saves most of the encoder's search. It is looked for while the layer's own decoder is made, never delays a first byte,
and whatever goes wrong with it only means that the rebuild goes on by itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.cache.blobs import BlobCache
from sidecar.cache.corpora import Corpora
from sidecar.cache.recently_served import Served
from sidecar.codec.interface import Codec, Decoder
from sidecar.pull.decoders import Layers
from sidecar.records.format import LayerRecord, TokenDeltaBlob
from sidecar.records.store import RecordStore
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.runtime.recent import remember
from sidecar.runtime.tasks import Tasks, cancelled, together
from sidecar.similarity.candidates import most_related
from sidecar.upstream.base import Caller
from sidecar.upstream.client import Refused

#: How many related layers are looked at; the one that runs beside most of the layer helps.
_TRIES = 3
#: With so much of it none is looked for that is better still.
_ENOUGH = 0.5
#: How many layers that an earlier process served are asked for, the latest of them.
_RECALLED = 32
_SUSPECTS_LIMIT = 4096


class Precedents:
    """Finds them among the layers served from the same repository. One per process."""

    def __init__(
        self,
        served: Served,
        cache: BlobCache,
        records: RecordStore,
        layers: Layers,
        corpora: Corpora,
        codec: Codec,
        offload: Offload,
    ) -> None:
        self._served = served
        self._cache = cache
        self._records = records
        self._layers = layers
        self._corpora = corpora
        self._codec = codec
        self._offload = offload
        self._suspects: OrderedDict[Digest, None] = OrderedDict()
        self._tasks = Tasks()

    def note(self, repository: RepositoryName, layer: LayerRecord) -> None:
        """The layer was served, so it may be in the cache."""
        self._served.note(repository, layer)

    async def save(self) -> None:
        """Writes down what was served, for the process after this one."""
        data = self._served.changes(self._cache.holds)
        if data is not None:
            await self._offload.io(self._served.write, data)

    def suspect(self, layer: LayerRecord) -> None:
        """A rebuild of the layer failed: from now on it is done without precedents."""
        remember(self._suspects, layer.digest, None, _SUSPECTS_LIMIT)

    def attach(
        self, caller: Caller, repository: RepositoryName, layer: LayerRecord, decoder: asyncio.Task[Decoder]
    ) -> asyncio.Task[None] | None:
        """Looks for a precedent and gives it to the layer's decoder once that is made; None for a suspect."""
        if layer.digest in self._suspects:
            return None
        return self._tasks.start(self._attach(caller, repository, layer, decoder))

    async def close(self) -> None:
        """Ends what is being looked for."""
        await self._tasks.stop()

    # -- inside

    async def _recall(self, caller: Caller, repository: RepositoryName) -> None:
        """Asks for the records of what an earlier process served, with this caller's rights."""
        if earlier := self._served.earlier(repository):
            held = [digest for digest in earlier if self._cache.holds(digest)]
            asked = (self._records.layer(caller, repository, digest) for digest in held[-_RECALLED:])
            self._served.recall(repository, [layer for layer in await together(*asked) if layer is not None])

    async def _attach(
        self, caller: Caller, repository: RepositoryName, layer: LayerRecord, decoder: asyncio.Task[Decoder]
    ) -> None:
        with self._harmless(layer):
            stated = layer.token_delta
            if stated is not None:
                # Whether this caller may see the older layer, `_at_hand` asks.
                older = await self._records.layer(caller, repository, stated.older, authorised=True)
                if older and await self._follow(caller, repository, layer, older, decoder, stated) is not None:
                    return
        with self._harmless(layer):
            await self._recall(caller, repository)
            for older in most_related(layer, self._served.layers(repository), _TRIES):
                shared = await self._follow(caller, repository, layer, older, decoder)
                if shared is not None and shared >= _ENOUGH:
                    return

    @contextmanager
    def _harmless(self, layer: LayerRecord) -> Iterator[None]:
        try:
            yield
        except (Refused, ReductoError, OSError) as error:
            logs.event("no-precedent", digest=str(layer.digest), error=str(error)[:200])

    async def _follow(
        self,
        caller: Caller,
        repository: RepositoryName,
        layer: LayerRecord,
        older: LayerRecord,
        decoder: asyncio.Task[Decoder],
        stated: TokenDeltaBlob | None = None,
    ) -> float | None:
        """Lets the layer's decoder follow an older layer that is at hand, by what is stated of the two; how much of the
        layer runs beside the best so far. None if the older one is not at hand."""
        wire = await self._at_hand(caller, repository, layer, older)
        if wire is None:
            return None
        fetching = asyncio.create_task(self._tokens(caller, repository, layer, stated))
        try:
            other = await self._layers.decoder(caller, repository, older)
            try:
                ours, tokens = await asyncio.shield(decoder), await fetching
                shared: float = await self._offload.serve(self._codec.follow, ours, other, wire, tokens)
            except BaseException:
                await self._offload.serve(other.close)
                raise
        finally:
            await cancelled(fetching)
        logs.event(
            "precedent", digest=str(layer.digest), older=str(older.digest), shared=round(shared, 3), stated=bool(tokens)
        )
        return shared

    async def _tokens(
        self, caller: Caller, repository: RepositoryName, layer: LayerRecord, stated: TokenDeltaBlob | None
    ) -> bytes:
        return await self._layers.token_delta(caller, repository, layer, stated) if stated is not None else b""

    async def _at_hand(
        self, caller: Caller, repository: RepositoryName, layer: LayerRecord, older: LayerRecord
    ) -> Path | None:
        """The older layer's file, if this caller may see it and nothing large has to be fetched for it."""
        ours = {corpus.corpus_id for corpus in layer.corpora}
        others = [corpus.corpus_id for corpus in older.corpora if corpus.corpus_id not in ours]
        if await self._offload.io(self._corpora.missing, others):
            return None
        warm = await self._cache.warm(older.digest, older.instructions.digest)
        if warm is None or await self._records.layer(caller, repository, older.digest) is None:
            return None
        return warm.path
