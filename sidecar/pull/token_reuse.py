"""Token reuse: an older layer in the cache makes the rebuild of a newer one faster (`reducto.gzip`).

A sidecar that served last week's image has the image's layers in its cache. When this week's image is pulled, the most
similar of them becomes the *donor*: the newer layer's decoder takes the donor's deflate tokens wherever both layers
have the same plain bytes, which saves most of the encoder's match search. The search for a donor runs while the layer's
own decoder is made, so it does not delay the first byte. If the search fails, the layer is rebuilt without a donor.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName
from reducto.oci.registry_errors import Refused
from reducto.values import Digest
from sidecar.cache.blob_cache import BlobCache
from sidecar.cache.local_corpora import Corpora
from sidecar.cache.recently_served import RecentlyServed
from sidecar.codec.interface import Codec, LayerDecoder
from sidecar.pull.decoders import LayerDecoders
from sidecar.records.format import LayerRecord, TokenDeltaBlob
from sidecar.records.repository import Repository
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.runtime.recent import remember
from sidecar.runtime.tasks import Tasks, cancelled, together
from sidecar.similarity.candidates import most_similar

#: This many similar layers are tried as donors. The donor with the largest aligned share of the layer is used.
_CANDIDATES_LIMIT = 3
#: When a donor is aligned with this share of the layer, no further candidate is tried.
_GOOD_SHARE = 0.5
#: Of the layers that an earlier process served, the records of this many are read: the latest.
_RECALLED = 32
_BLOCKLIST_LIMIT = 4096


class TokenReuse:
    """Finds donors among the layers that were served from the same repository. One per process."""

    def __init__(
        self,
        recently_served: RecentlyServed,
        cache: BlobCache,
        decoders: LayerDecoders,
        corpora: Corpora,
        codec: Codec,
        offload: Offload,
    ) -> None:
        self._recently_served = recently_served
        self._cache = cache
        self._decoders = decoders
        self._corpora = corpora
        self._codec = codec
        self._offload = offload
        self._blocklist: OrderedDict[Digest, None] = OrderedDict()
        self._tasks = Tasks()

    def note(self, repository: RepositoryName, layer: LayerRecord) -> None:
        """Notes that the layer was served, so that it may be in the cache."""
        self._recently_served.note(repository, layer)

    async def save(self) -> None:
        """Writes the list of served layers to disk, for the next process."""
        data = self._recently_served.changes(self._cache.holds)
        if data is not None:
            await self._offload.io(self._recently_served.write, data)

    def block(self, layer: LayerRecord) -> None:
        """Notes that a rebuild of the layer failed, so that it is rebuilt without donors from now on."""
        remember(self._blocklist, layer.digest, None, _BLOCKLIST_LIMIT)

    def attach(
        self, repository: Repository, layer: LayerRecord, decoder: asyncio.Task[LayerDecoder]
    ) -> asyncio.Task[None] | None:
        """Starts to look for a donor for the layer's decoder. None for a layer that `block` was called for."""
        if layer.digest in self._blocklist:
            return None
        return self._tasks.start(self._attach(repository, layer, decoder))

    async def close(self) -> None:
        """Stops all searches for donors."""
        await self._tasks.stop()

    # -- inside

    async def _recall(self, repository: Repository) -> None:
        """Reads the records of layers that an earlier process served, with this caller's rights."""
        if earlier := self._recently_served.earlier(repository.name):
            cached = [digest for digest in earlier if self._cache.holds(digest)]
            found = await together(*(repository.layer(digest) for digest in cached[-_RECALLED:]))
            self._recently_served.recall(repository.name, [layer for layer in found if layer is not None])

    async def _attach(self, repository: Repository, layer: LayerRecord, decoder: asyncio.Task[LayerDecoder]) -> None:
        with self._harmless(layer):
            delta = layer.token_delta
            if delta is not None:
                # `_cached_file` asks the upstream whether this caller may see the older layer.
                donor = await repository.layer(delta.older, authorised=True)
                if donor and await self._try(repository, layer, donor, decoder, delta) is not None:
                    return
        with self._harmless(layer):
            await self._recall(repository)
            for donor in most_similar(layer, self._recently_served.layers(repository.name), _CANDIDATES_LIMIT):
                share = await self._try(repository, layer, donor, decoder)
                if share is not None and share >= _GOOD_SHARE:
                    return

    @contextmanager
    def _harmless(self, layer: LayerRecord) -> Iterator[None]:
        try:
            yield
        except (Refused, ReductoError, OSError) as error:
            logs.event("no-token-donor", digest=str(layer.digest), error=str(error)[:200])

    async def _try(
        self,
        repository: Repository,
        layer: LayerRecord,
        donor: LayerRecord,
        decoder: asyncio.Task[LayerDecoder],
        delta: TokenDeltaBlob | None = None,
    ) -> float | None:
        """Gives the donor, and the token delta of both layers if there is one, to the layer's decoder.

        Returns the share of the layer (0 to 1) that is aligned with the best donor so far; None if this donor cannot be
        used.
        """
        wire = await self._cached_file(repository, layer, donor)
        if wire is None:
            return None
        fetching = asyncio.create_task(self._token_delta(repository, layer, delta))
        try:
            donor_decoder = await self._decoders.decoder(repository, donor)
            try:
                layer_decoder, tokens = await asyncio.shield(decoder), await fetching
                reuse = self._codec.reuse_tokens
                share: float = await self._offload.serve(reuse, layer_decoder, donor_decoder, wire, tokens)
            except BaseException:
                await self._offload.serve(donor_decoder.close)
                raise
        finally:
            await cancelled(fetching)
        logs.event(
            "token-donor", digest=str(layer.digest), donor=str(donor.digest), share=round(share, 3),
            precomputed=bool(tokens),
        )  # fmt: skip
        return share

    async def _token_delta(self, repository: Repository, layer: LayerRecord, delta: TokenDeltaBlob | None) -> bytes:
        return await self._decoders.token_delta(repository, layer, delta) if delta is not None else b""

    async def _cached_file(self, repository: Repository, layer: LayerRecord, donor: LayerRecord) -> Path | None:
        """The donor's file in the cache, if this caller may see the donor and its decoder needs no download."""
        fetched_anyway = {corpus.blob.digest for corpus in layer.corpora}
        others = [corpus for corpus in donor.corpora if corpus.blob.digest not in fetched_anyway]
        if await self._offload.io(self._corpora.missing, others):
            return None
        warm = await self._cache.warm(donor.digest, donor.instructions.digest)
        if warm is None or await repository.layer(donor.digest) is None:
            return None
        return warm.path
