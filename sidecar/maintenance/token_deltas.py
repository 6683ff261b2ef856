"""States which tokens of an older layer a newer one keeps, for edges that hold the older one in their cache.

An edge that pulls the newer layer copies those tokens out of the older layer's wire bytes and searches only for the
others. To find that out takes both layers, rebuilt: it is done at the origin, once, when nothing else runs.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path

from reducto.crypt import Content
from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName
from reducto.values import Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.codec.interface import Decoder
from sidecar.maintenance.walk import SERVICE
from sidecar.pull.decoders import write_layer
from sidecar.records.format import TOKEN_DELTA_TYPE, LayerRecord, TokenDeltaBlob
from sidecar.runtime import logs
from sidecar.similarity.candidates import most_related
from sidecar.upstream.client import Refused

#: How many older layers are looked at; the one that runs beside most of the newer layer is taken.
_TRIES = 3
#: Below this share of it none is.
_LEAST_SHARE = 0.25


async def state_tokens(
    sidecar: Sidecar, repository: RepositoryName, layers: Iterable[LayerRecord], fresh: set[Digest]
) -> dict[Digest, TokenDeltaBlob]:
    """Token deltas of those of the repository's ``layers`` that are ``fresh``, stored in the upstream, by layer.

    A layer that cannot be rebuilt here and now goes without.
    """
    ordered = sorted(layers, key=lambda layer: layer.created, reverse=True)
    found = {}
    for at, layer in enumerate(ordered):
        if layer.digest not in fresh or layer.token_delta is not None:
            continue
        try:
            delta = await _state(sidecar, repository, layer, most_related(layer, ordered[at + 1 :], _TRIES))
        except (Refused, ReductoError, OSError) as error:
            logs.event("token-delta-skipped", digest=str(layer.digest), error=str(error)[:200])
            continue
        if delta is not None:
            found[layer.digest] = delta
    return found


async def _state(
    sidecar: Sidecar, repository: RepositoryName, layer: LayerRecord, candidates: list[LayerRecord]
) -> TokenDeltaBlob | None:
    if not candidates:
        return None
    offload, codec = sidecar.offload, sidecar.codec
    async with _decoder(sidecar, repository, layer) as ours:
        if not await offload.background(codec.follows, ours):
            return None
        shares = []
        for candidate in candidates:
            async with _decoder(sidecar, repository, candidate) as theirs:
                shares.append(await offload.background(codec.beside, ours, theirs))
        share, older = max(zip(shares, candidates, strict=True), key=itemgetter(0))
        if share < _LEAST_SHARE:
            return None
        async with (
            _decoder(sidecar, repository, older) as theirs,
            _rebuilt(sidecar, layer, ours) as wire,
            _rebuilt(sidecar, older, theirs) as older_wire,
        ):
            delta = await offload.background(codec.token_delta, ours, wire, theirs, older_wire)
    if not delta:
        return None
    protect = sidecar.seal.protect
    sealed, envelope = await offload.run(protect, repository, layer.digest, delta, Content.TOKEN_DELTA)
    blob = Descriptor(TOKEN_DELTA_TYPE, await offload.io(Digest.of, sealed), len(sealed))
    await sidecar.client.put_blob(SERVICE, repository, blob.digest, sealed)
    logs.event(
        "token-delta", repository=repository.name, digest=str(layer.digest), older=str(older.digest),
        shared=round(share, 3), bytes=blob.size,
    )  # fmt: skip
    return TokenDeltaBlob(older.digest, blob, envelope)


@asynccontextmanager
async def _decoder(sidecar: Sidecar, repository: RepositoryName, layer: LayerRecord) -> AsyncIterator[Decoder]:
    decoder = await sidecar.layers.decoder(SERVICE, repository, layer, alone=True)
    try:
        yield decoder
    finally:
        await sidecar.offload.run(decoder.close)


@asynccontextmanager
async def _rebuilt(sidecar: Sidecar, layer: LayerRecord, decoder: Decoder) -> AsyncIterator[Path]:
    """The layer's file: the cached one, or a scratch file."""
    warm = await sidecar.rebuilds.cache.warm(layer.digest, layer.instructions.digest)
    if warm is not None:
        yield warm.path
        return
    path = sidecar.scratch.path / f"tokens-{secrets.token_hex(8)}"
    try:
        await sidecar.offload.background(write_layer, layer, decoder, path)
        yield path
    finally:
        await sidecar.offload.io(path.unlink, True)
