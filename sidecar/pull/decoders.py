"""A layer's decoder with everything at hand: used by pulls, by fsck and by rehydration alike; and its hints."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reducto.codec.instructions import INSTRUCTIONS_LIMIT_BYTES
from reducto.crypt import Content
from reducto.errors import ProofFailed
from reducto.gzip import TOKEN_DELTA_LIMIT_BYTES
from reducto.oci.names import RepositoryName
from sidecar.cache.corpora import Corpora
from sidecar.codec.interface import Codec, Decoder
from sidecar.records.format import LayerRecord, TokenDeltaBlob
from sidecar.records.protection import Seal
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import Caller
from sidecar.upstream.client import RegistryClient


class Layers:
    """Fetches instructions and corpora, and makes decoders of them."""

    def __init__(self, client: RegistryClient, corpora: Corpora, codec: Codec, seal: Seal, offload: Offload) -> None:
        self._client = client
        self._corpora = corpora
        self._codec = codec
        self._seal = seal
        self._offload = offload

    async def decoder(
        self,
        caller: Caller,
        repository: RepositoryName,
        layer: LayerRecord,
        *,
        distrust: bool = False,
        alone: bool = False,
    ) -> Decoder:
        """A decoder for the layer. With ``distrust`` local copies of its corpora are fetched anew; with ``alone`` it
        works in the thread that calls it.

        Raises `Refused`, `Corrupt`, `CorpusMissing`, `KeyUnavailable`, `UpstreamBroken`.
        """
        if distrust:
            await self._offload.io(self._corpora.drop, [corpus.corpus_id for corpus in layer.corpora])
        fetching = asyncio.create_task(self._corpora.gather(caller, repository, layer.corpora, layer.bases))
        try:
            sealed = await self._client.read_blob(caller, repository, layer.instructions, INSTRUCTIONS_LIMIT_BYTES)
        finally:
            # Even when that failed: whoever asks next must not join a fetch of this failed attempt.
            await asyncio.gather(fetching, return_exceptions=True)
        corpora = fetching.result()
        instructions = await self._offload.serve(self._seal.reveal, layer.digest, sealed, layer.envelope)
        return await self._offload.serve(self._codec.decoder, instructions, corpora, alone)

    async def token_delta(
        self, caller: Caller, repository: RepositoryName, layer: LayerRecord, delta: TokenDeltaBlob
    ) -> bytes:
        """What is stated of the layer's tokens. Raises as `decoder`."""
        sealed = await self._client.read_blob(caller, repository, delta.blob, TOKEN_DELTA_LIMIT_BYTES)
        return await self._offload.serve(
            self._seal.reveal, layer.digest, sealed, delta.envelope, Content.TOKEN_DELTA
        )  # fmt: skip


def write_layer(layer: LayerRecord, decoder: Decoder, path: Path) -> None:
    """Rebuilds the layer into a new file; for a worker. Raises `ProofFailed` and what rebuilding raises."""
    hasher = layer.digest.hasher()
    with open(path, "xb") as out:
        for piece in decoder.rebuild():
            out.write(piece)
            hasher.update(piece)
    if hasher.hexdigest() != layer.digest.hex:
        raise ProofFailed(f"what was rebuilt is not {layer.digest}")
