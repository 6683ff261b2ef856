"""Improves the stored form of pushed layers when the sidecar is idle.

It packs their corpora again (`sidecar.maintenance.recompress`) and computes token deltas
(`sidecar.maintenance.token_deltas`). Then one rewriting puts both into the records. At every moment each record names
everything that it needs, so a crash in the middle loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from reducto.config import Config
from reducto.oci.names import RepositoryName
from reducto.oci.registry_errors import Refused
from reducto.values import CorpusId, Digest
from sidecar.app import Sidecar
from sidecar.cache.idle_queue import IdleQueue, Work
from sidecar.maintenance.recompress import repack_corpora
from sidecar.maintenance.rewrite import rewrite
from sidecar.maintenance.token_deltas import compute_token_deltas
from sidecar.maintenance.walk import contents_of
from sidecar.records.format import CorpusBlob, LayerRecord, TokenDeltaBlob
from sidecar.runtime import logs

#: Statuses after which another try is useless: the service may not do this, or the repository does not exist.
_FINAL_STATUSES = (401, 403, 404, 405)
_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Improved:
    """The result of one pass over a repository."""

    corpora: int = 0
    """The number of corpora that have a smaller blob now."""
    saved_bytes: int = 0
    """The sum of the differences between old and new blobs, in bytes."""
    token_deltas: int = 0
    """The number of layers that have a token delta now."""


async def improve(sidecar: Sidecar, name: RepositoryName, only: Work | None = None) -> Improved:
    """Improves the stored form of the repository's layers, or only of those in ``only``. Raises `Refused`."""
    repository = sidecar.repository(name)
    layers = (await contents_of(repository)).layers.values()
    repacked = await repack_corpora(sidecar, repository, layers, None if only is None else only.corpora)
    sizes = {corpus.corpus_id: corpus.blob.size for layer in layers for corpus in layer.corpora}
    saved_bytes = sum(sizes[corpus_id] - smaller.blob.size for corpus_id, smaller in repacked.items())
    deltas: dict[Digest, TokenDeltaBlob] = {}
    if sidecar.config.recompression.token_deltas:
        new = only.layers if only is not None else {layer.digest for layer in layers}
        deltas = await compute_token_deltas(sidecar, repository, layers, new)
    if not repacked and not deltas:
        return Improved()

    def changed(layer: LayerRecord) -> LayerRecord:
        corpora = tuple(_current(corpus, repacked) for corpus in layer.corpora)
        return replace(layer, corpora=corpora, token_delta=deltas.get(layer.digest, layer.token_delta))

    await rewrite(repository, changed)
    sidecar.runtime.metrics.recompressed.inc(saved_bytes)
    sidecar.runtime.metrics.token_deltas.inc(len(deltas))
    logs.event(
        "recompressed", repository=str(repository), corpora=len(repacked), saved_bytes=saved_bytes,
        token_deltas=len(deltas),
    )  # fmt: skip
    return Improved(len(repacked), saved_bytes, len(deltas))


def _current(corpus: CorpusBlob, repacked: dict[CorpusId, CorpusBlob]) -> CorpusBlob:
    smaller = repacked.get(corpus.corpus_id)
    return corpus if smaller is None else replace(smaller, hooks=corpus.hooks)


async def when_idle(sidecar: Sidecar) -> bool:
    """Does the work that waits for one repository, if the sidecar has been idle for long enough. Returns whether it
    did.

    If the work fails, the repository is postponed, so that the next call takes another one, and the error is raised.
    """
    queue, quiet_seconds = sidecar.push.idle_queue, sidecar.runtime.activity.quiet_seconds
    found = queue.next()
    if found is None or sidecar.busy or quiet_seconds < sidecar.config.recompression.idle_after:
        return False
    name, work = found
    try:
        await improve(sidecar, name, work)
    except Refused as refusal:
        if refusal.status not in _FINAL_STATUSES:
            _postpone(queue, name, refusal)
            raise
        logs.event("recompression-skipped", repository=str(name), error=str(refusal)[:200])
    except Exception as error:
        _postpone(queue, name, error)
        raise
    queue.done(name, work)
    return True


def look_seconds(config: Config) -> float:
    """The seconds between two calls of `when_idle`."""
    return min(config.recompression.idle_after, _LOOK_SECONDS)


def _postpone(queue: IdleQueue, name: RepositoryName, error: Exception) -> None:
    pause_seconds = queue.postpone(name)
    error.add_note(f"repository {name} is tried again in {pause_seconds:.0f} s")
