"""Computes token deltas: which deflate tokens of an older layer a newer one keeps.

An edge that pulls the newer layer, and has the older one in its cache, copies those tokens out of the older layer's
compressed bytes and searches matches only for the others. To find out which they are takes both layers, rebuilt: that
is done once, at the origin, when nothing else runs.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path

from reducto.crypt import Content
from reducto.errors import ReductoError
from reducto.oci.errors import Refused
from reducto.values import Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.codec.interface import LayerDecoder
from sidecar.pull.decoders import write_layer
from sidecar.records.format import TOKEN_DELTA_TYPE, LayerRecord, TokenDeltaBlob
from sidecar.records.repository import Repository
from sidecar.runtime import logs
from sidecar.similarity.candidates import most_similar

#: How many older layers are tried as donors; the one that is aligned with most of the newer layer is taken.
_TRIES = 3
#: A donor that is aligned with a smaller share of the newer layer is not worth its token delta.
_LEAST_SHARE = 0.25


async def compute_token_deltas(
    sidecar: Sidecar, repository: Repository, layers: Iterable[LayerRecord], new: set[Digest]
) -> dict[Digest, TokenDeltaBlob]:
    """Token deltas of those of the repository's ``layers`` that are ``new``, stored in the upstream, by layer.

    A layer that cannot be rebuilt here and now goes without.
    """
    ordered = sorted(layers, key=lambda layer: layer.created, reverse=True)
    found = {}
    for at, layer in enumerate(ordered):
        if layer.digest not in new or layer.token_delta is not None:
            continue
        try:
            delta = await _compute(sidecar, repository, layer, most_similar(layer, ordered[at + 1 :], _TRIES))
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
    async with _decoder(sidecar, repository, layer) as ours:
        if not await offload.background(codec.can_reuse_tokens, ours):
            return None
        shares = []
        for candidate in candidates:
            async with _decoder(sidecar, repository, candidate) as theirs:
                shares.append(await offload.background(codec.aligned_share, ours, theirs))
        share, donor = max(zip(shares, candidates, strict=True), key=itemgetter(0))
        if share < _LEAST_SHARE:
            return None
        async with (
            _decoder(sidecar, repository, donor) as theirs,
            _rebuilt(sidecar, layer, ours) as wire,
            _rebuilt(sidecar, donor, theirs) as donor_wire,
        ):
            delta = await offload.background(codec.token_delta, ours, wire, theirs, donor_wire)
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
    """The layer's file: the cached one, or a scratch file."""
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
