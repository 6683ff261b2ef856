"""Packs layer corpora again at a higher zstd level than at push.

A corpus keeps its identity, so instructions stay as they are. Only the blob changes that records name for the corpus.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import replace

from reducto.values import CorpusId, Descriptor
from sidecar.app import Sidecar
from sidecar.push.commit import digest_file
from sidecar.records.format import PACKED_CORPUS_TYPE, CorpusBlob, LayerRecord
from sidecar.records.repository import Repository

#: A corpus whose new blob is smaller by less than this share keeps its old one, because new records cost requests.
_LEAST_GAIN = 0.02


async def repack_corpora(
    sidecar: Sidecar, repository: Repository, layers: Iterable[LayerRecord], only: Collection[CorpusId] | None
) -> dict[CorpusId, CorpusBlob]:
    """Packs the corpora of ``layers`` again. Returns those whose blob became smaller, with the new blob, which is
    stored in the upstream.

    Corpora that are not in ``only`` are left out, if that is given. Raises `Refused`, `Corrupt`.
    """
    corpora = {corpus.corpus_id: (corpus, layer) for layer in layers for corpus in layer.corpora}
    repacked: dict[CorpusId, CorpusBlob] = {}
    for corpus_id, (corpus, layer) in corpora.items():
        if only is not None and corpus_id not in only:
            continue
        smaller = await _repack(sidecar, repository, corpus, layer)
        if smaller is not None:
            repacked[corpus_id] = smaller
    return repacked


async def _repack(
    sidecar: Sidecar, repository: Repository, corpus: CorpusBlob, layer: LayerRecord
) -> CorpusBlob | None:
    """The corpus with its new blob, which is stored in the upstream; None if it would be less than 2 % smaller."""
    offload, references = sidecar.runtime.offload, sidecar.references
    known = await references.corpora.gather(repository, layer.corpora, layer.bases)
    into = sidecar.runtime.scratch.path / f"repack-{secrets.token_hex(8)}"
    packed = await references.corpora.packed(repository, corpus)
    level = sidecar.config.compression.compression_level
    try:
        await offload.background(references.codec.repack, packed, into, corpus.corpus_id, known, level)
        encrypt = sidecar.upstream.protector.encrypt_file
        path, envelope = await offload.run(encrypt, repository.name, corpus.corpus_id, into)
        digest, length = await offload.io(digest_file, path)
        try:
            if length > corpus.blob.size * (1 - _LEAST_GAIN):
                return None
            await repository.put_blob(digest, path)
        finally:
            await offload.io(path.unlink, True)
    finally:
        await offload.io(into.unlink, True)
    smaller = replace(corpus, blob=Descriptor(PACKED_CORPUS_TYPE, digest, length), envelope=envelope)
    await references.corpora.alias(corpus, smaller)
    return smaller
