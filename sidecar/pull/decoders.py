"""Makes the decoder of a layer from its instructions and corpora. Pulls, fsck and rehydration use it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reducto.codec.instructions import INSTRUCTIONS_LIMIT_BYTES
from reducto.crypt import Content
from reducto.errors import ProofFailed
from reducto.gzip import TOKEN_DELTA_LIMIT_BYTES
from sidecar.cache.local_corpora import Corpora
from sidecar.codec.interface import Codec, LayerDecoder
from sidecar.records.format import LayerRecord, TokenDeltaBlob
from sidecar.records.protection import Protector
from sidecar.records.repository import Repository
from sidecar.runtime.offload import Offload


class LayerDecoders:
    """Fetches instructions and corpora, and makes decoders. One per process."""

    def __init__(self, corpora: Corpora, codec: Codec, protector: Protector, offload: Offload) -> None:
        self._corpora = corpora
        self._codec = codec
        self._protector = protector
        self._offload = offload

    async def decoder(
        self, repository: Repository, layer: LayerRecord, *, bypass_cache: bool = False, single_threaded: bool = False
    ) -> LayerDecoder:
        """A decoder for the layer. With ``bypass_cache`` its corpora are fetched again, because local copies may be
        damaged. With ``single_threaded`` it works only in the thread that calls it.

        Raises `Refused`, `Corrupt`, `CorpusMissing`, `KeyUnavailable`, `UpstreamBroken`.
        """
        if bypass_cache:
            await self._offload.io(self._corpora.drop, layer.corpora)
        fetching = asyncio.create_task(self._corpora.gather(repository, layer.corpora, layer.bases))
        try:
            stored = await repository.read_blob(layer.instructions, INSTRUCTIONS_LIMIT_BYTES)
        finally:
            # This waits also after a failure. Otherwise the next attempt could join a fetch that this one began.
            await asyncio.gather(fetching, return_exceptions=True)
        corpora = fetching.result()
        instructions = await self._offload.serve(self._protector.decrypt, layer.digest, stored, layer.envelope)
        return await self._offload.serve(self._codec.decoder, instructions, corpora, single_threaded)

    async def token_delta(self, repository: Repository, layer: LayerRecord, delta: TokenDeltaBlob) -> bytes:
        """The layer's token delta, which lists the tokens of the older layer that it keeps. Raises as `decoder`."""
        stored = await repository.read_blob(delta.blob, TOKEN_DELTA_LIMIT_BYTES)
        return await self._offload.serve(
            self._protector.decrypt, layer.digest, stored, delta.envelope, Content.TOKEN_DELTA
        )  # fmt: skip


def write_layer(layer: LayerRecord, decoder: LayerDecoder, path: Path) -> None:
    """Rebuilds the layer into the new file ``path``. Runs on a worker. Raises `ProofFailed` and as the decoder."""
    hasher = layer.digest.hasher()
    with open(path, "xb") as out:
        for piece in decoder.rebuild():
            out.write(piece)
            hasher.update(piece)
    if hasher.hexdigest() != layer.digest.hex:
        raise ProofFailed(f"the rebuilt layer is not {layer.digest}")
