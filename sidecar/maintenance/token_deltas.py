"""Computes token deltas, which list the deflate tokens of an older layer that a newer one keeps.

An edge that pulls the newer layer, and has the older one in its cache, copies these tokens from the older layer's
compressed bytes and searches for matches only where there are none. To compute a token delta both layers must be
rebuilt, so it is done once, at the origin, when the sidecar is idle.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path

from reducto.crypt import Content
from reducto.errors import ReductoError
from reducto.oci.registry_errors import Refused
from reducto.values import Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.codec.interface import LayerDecoder
from sidecar.pull.decoders import write_layer
from sidecar.records.format import TOKEN_DELTA_TYPE, LayerRecord, TokenDeltaBlob
from sidecar.records.repository import Repository
from sidecar.runtime import logs
from sidecar.similarity.candidates import most_similar

#: This many older layers are tried as donors. The donor with the largest aligned share of the newer layer is used.
_CANDIDATES_LIMIT = 3
#: A donor with a smaller aligned share of the newer layer gets no token delta, because that would save little.
_LEAST_SHARE = 0.25


async def compute_token_deltas(
    sidecar: Sidecar, repository: Repository, layers: Iterable[LayerRecord], new: set[Digest]
) -> dict[Digest, TokenDeltaBlob]:
    """Computes and stores token deltas for the ``new`` ones among ``layers``; returns their blobs by layer.

    A layer that cannot be rebuilt, or has no good donor, gets none.
    """
    ordered = sorted(layers, key=lambda layer: layer.created, reverse=True)
    found = {}
    for at, layer in enumerate(ordered):
        if layer.digest not in new or layer.token_delta is not None:
            continue
        try:
            candidates = most_similar(layer, ordered[at + 1 :], _CANDIDATES_LIMIT)
            delta = await _compute(sidecar, repository, layer, candidates)
        except (Refused, ReductoError, OSError) as error:
            logs.event("token-delta-skipped", digest=str(layer.digest), error=str(error)[:200])
            continue
        if delta is not None:
            found[layer.digest] = delta
    return found


async def _compute(
    sidecar: Sidecar, repository: Repository, layer: LayerRecord, candidates: list[LayerRecord]
) -> TokenDeltaBlob | None:
    if not candidates:
        return None
    offload, codec = sidecar.runtime.offload, sidecar.references.codec
    async with _decoder(sidecar, repository, layer) as decoder:
        if not await offload.background(codec.can_reuse_tokens, decoder):
            return None
        shares = []
        for candidate in candidates:
            async with _decoder(sidecar, repository, candidate) as candidate_decoder:
                shares.append(await offload.background(codec.aligned_share, decoder, candidate_decoder))
        share, donor = max(zip(shares, candidates, strict=True), key=itemgetter(0))
        if share < _LEAST_SHARE:
            return None
        async with (
            _decoder(sidecar, repository, donor) as donor_decoder,
            _rebuilt(sidecar, layer, decoder) as wire,
            _rebuilt(sidecar, donor, donor_decoder) as donor_wire,
        ):
            delta = await offload.background(codec.token_delta, decoder, wire, donor_decoder, donor_wire)
    if not delta:
        return None
    encrypt = sidecar.upstream.protector.encrypt
    stored, envelope = await offload.run(encrypt, repository.name, layer.digest, delta, Content.TOKEN_DELTA)
    blob = Descriptor(TOKEN_DELTA_TYPE, await offload.io(Digest.of, stored), len(stored))
    await repository.put_blob(blob.digest, stored)
    logs.event(
        "token-delta", repository=str(repository), digest=str(layer.digest), donor=str(donor.digest),
        share=round(share, 3), bytes=blob.size,
    )  # fmt: skip
    return TokenDeltaBlob(donor.digest, blob, envelope)


@asynccontextmanager
async def _decoder(sidecar: Sidecar, repository: Repository, layer: LayerRecord) -> AsyncIterator[LayerDecoder]:
    decoder = await sidecar.pull.decoders.decoder(repository, layer, single_threaded=True)
    try:
        yield decoder
    finally:
        await sidecar.runtime.offload.run(decoder.close)


@asynccontextmanager
async def _rebuilt(sidecar: Sidecar, layer: LayerRecord, decoder: LayerDecoder) -> AsyncIterator[Path]:
    """The file of the layer's wire bytes: the cached one, or a scratch file into which the layer is rebuilt."""
    warm = await sidecar.pull.rebuilds.cache.warm(layer.digest, layer.instructions.digest)
    if warm is not None:
        yield warm.path
        return
    path = sidecar.runtime.scratch.path / f"tokens-{secrets.token_hex(8)}"
    try:
        await sidecar.runtime.offload.background(write_layer, layer, decoder, path)
        yield path
    finally:
        await sidecar.runtime.offload.io(path.unlink, True)
