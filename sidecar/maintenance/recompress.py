"""Layer corpora written fast at push are written again, harder, when nothing else runs; and new layers' tokens are
stated (`sidecar.maintenance.token_deltas`).

A corpus keeps its identity, so instructions stay as they are: only records change, from one blob to the other. Each
record names all it needs at every moment, so a crash between two of them loses nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from reducto.config import Config
from reducto.oci.names import RepositoryName
from reducto.values import CorpusId, Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.cache.idle_queue import Work
from sidecar.maintenance.rewrite import rewrite
from sidecar.maintenance.token_deltas import state_tokens
from sidecar.maintenance.walk import SERVICE, contents_of
from sidecar.push.commit import digest_file
from sidecar.records.format import PACKED_CORPUS_TYPE, CorpusBlob, LayerRecord, TokenDeltaBlob
from sidecar.runtime import logs
from sidecar.upstream.client import Refused

#: A gain below this is not worth new records.
_LEAST_GAIN = 0.02
#: Statuses by which the upstream says for good that the service account may not do this, or that nothing is there.
_FINAL = (401, 403, 404, 405)
_LOOK_SECONDS = 5.0


async def recompress(sidecar: Sidecar, repository: RepositoryName, only: Work | None = None) -> int:
    """Packs the repository's corpora (or only some) again, and states the tokens of its layers (or of some) if the
    configuration wants it; returns the bytes saved by the former. Raises `Refused`."""
    contents = await contents_of(sidecar, repository)
    layers = contents.layers.values()
    swaps: dict[CorpusId, CorpusBlob] = {}
    saved = 0
    corpora = {corpus.corpus_id: (corpus, layer) for layer in layers for corpus in layer.corpora}
    for corpus_id, (corpus, layer) in corpora.items():
        if only is not None and corpus_id not in only.corpora:
            continue
        smaller = await _pack_again(sidecar, repository, corpus, layer)
        if smaller is not None:
            swaps[corpus_id] = smaller
            saved += corpus.blob.size - smaller.blob.size
    deltas: dict[Digest, TokenDeltaBlob] = {}
    if sidecar.config.recompression.token_deltas:
        fresh = only.layers if only is not None else {layer.digest for layer in layers}
        deltas = await state_tokens(sidecar, repository, layers, fresh)
    if swaps or deltas:
        await _swap(sidecar, repository, swaps, deltas)
        sidecar.metrics.recompressed.inc(saved)
        sidecar.metrics.token_deltas.inc(len(deltas))
        logs.event(
            "recompressed", repository=repository.name, corpora=len(swaps), saved_bytes=saved, token_deltas=len(deltas)
        )
    return saved


async def _pack_again(
    sidecar: Sidecar, repository: RepositoryName, corpus: CorpusBlob, layer: LayerRecord
) -> CorpusBlob | None:
    """The corpus's new blob, stored in the upstream; None when it would hardly be smaller."""
    known = await sidecar.corpora.gather(SERVICE, repository, layer.corpora, layer.bases)
    into = sidecar.scratch.path / f"repack-{secrets.token_hex(8)}"
    packed = await sidecar.corpora.packed(SERVICE, repository, corpus)
    level = sidecar.config.compression.compression_level
    try:
        await sidecar.offload.background(sidecar.codec.repack, packed, into, corpus.corpus_id, known, level)
        path, envelope = await sidecar.offload.run(sidecar.seal.protect_file, repository, corpus.corpus_id, into)
        digest, length = await sidecar.offload.io(digest_file, path)
        try:
            if length > corpus.blob.size * (1 - _LEAST_GAIN):
                return None
            await sidecar.client.put_blob(SERVICE, repository, digest, path)
        finally:
            await sidecar.offload.io(path.unlink, True)
    finally:
        await sidecar.offload.io(into.unlink, True)
    return replace(corpus, blob=Descriptor(PACKED_CORPUS_TYPE, digest, length), envelope=envelope)


async def _swap(
    sidecar: Sidecar,
    repository: RepositoryName,
    swaps: dict[CorpusId, CorpusBlob],
    deltas: dict[Digest, TokenDeltaBlob],
) -> None:
    """Puts records that name the new blobs in place of the old."""

    def changed(layer: LayerRecord) -> LayerRecord:
        corpora = tuple(
            replace(swaps[corpus.corpus_id], hooks=corpus.hooks) if corpus.corpus_id in swaps else corpus
            for corpus in layer.corpora
        )
        return replace(layer, corpora=corpora, token_delta=deltas.get(layer.digest, layer.token_delta))

    await rewrite(sidecar, repository, changed)


async def when_idle(sidecar: Sidecar) -> bool:
    """Recompresses what waits in one repository, if the sidecar has been idle for long enough; whether it did.

    Raises what that failed with, after the repository was postponed, so that the next call tries another one.
    """
    found = sidecar.waiting.next()
    if found is None or sidecar.busy or sidecar.activity.quiet_seconds < sidecar.config.recompression.idle_after:
        return False
    repository, work = found
    try:
        await recompress(sidecar, repository, work)
    except Refused as refusal:
        if refusal.status not in _FINAL:
            _postpone(sidecar, repository, refusal)
            raise
        logs.event("recompression-skipped", repository=repository.name, error=str(refusal)[:200])
    except Exception as error:
        _postpone(sidecar, repository, error)
        raise
    sidecar.waiting.done(repository, work)
    return True


def look_seconds(config: Config) -> float:
    """How often `when_idle` is to be called."""
    return min(config.recompression.idle_after, _LOOK_SECONDS)


def _postpone(sidecar: Sidecar, repository: RepositoryName, error: Exception) -> None:
    pause_seconds = sidecar.waiting.postpone(repository)
    error.add_note(f"repository {repository} is recompressed again in {pause_seconds:.0f} s")
