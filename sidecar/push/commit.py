"""Commits a finished upload to the upstream, either reduced, with a record, or as it came."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reducto.config import Policy
from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName
from reducto.oci.registry_errors import Refused
from reducto.values import Descriptor, Digest, Reason, Stored
from sidecar.cache.idle_queue import IdleQueue
from sidecar.cache.local_corpora import Corpora
from sidecar.codec.interface import NewCorpus, Reduction
from sidecar.push.mounts import mount
from sidecar.push.sessions import Upload
from sidecar.records.format import INSTRUCTIONS_TYPE, PACKED_CORPUS_TYPE, CorpusBlob, LayerRecord
from sidecar.records.protection import Protector
from sidecar.records.repository import Repository
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.tasks import together
from sidecar.similarity.candidates import SimilarCorpora
from sidecar.similarity.hook_index import pack_hooks, sample


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a commit."""

    reduced: bool
    """Whether the upstream holds a reduced form of the blob."""
    reason: str
    """The reason for that, as metrics and logs name it."""
    stored_bytes: int
    """The bytes that were sent to the upstream for the blob."""


class UploadCommitter:
    """Commits uploads. When `commit` returns, the upstream holds the blob."""

    def __init__(
        self,
        similar: SimilarCorpora,
        corpora: Corpora,
        idle_queue: IdleQueue,
        protector: Protector,
        policy: Policy,
        offload: Offload,
        metrics: Metrics,
    ) -> None:
        self._similar = similar
        self._corpora = corpora
        self._idle_queue = idle_queue
        self._protector = protector
        self._policy = policy
        self._offload = offload
        self._metrics = metrics

    async def commit(
        self, upload: Upload, digest: Digest, outcome: Reduction | Stored, started: float, *, adopting: bool = False
    ) -> Committed:
        """Stores the upload as ``outcome`` says, or the original if that fails. Raises `Refused`, `Unavailable`.

        ``started`` is the time at which the last byte arrived, on the clock `time.monotonic`. With ``adopting`` the
        upstream holds the original already, so only a reduced form is stored.
        """
        repository = upload.repository
        if isinstance(outcome, Reduction) and await self._is_stored(upload, digest):
            return self._report(upload, digest, outcome, Committed(True, "known", 0), started)
        if isinstance(outcome, Reduction):
            try:
                stored_bytes = await self._commit_reduced(upload, digest, outcome)
            except (Refused, ReductoError, OSError) as error:
                self._metrics.reduce_failures.inc()
                await self._offload.io(self._forget, repository.name, outcome)
                logs.trouble("reduced-form-not-stored", error, digest=str(digest), repository=str(repository))
                outcome = Stored(Reason.FAILED, f"{type(error).__name__}: {error}"[:300])
            else:
                if self._policy is Policy.ATTACH and not adopting:
                    stored_bytes += await repository.put_blob(digest, upload.spool.path)
                result = Committed(True, "adopted" if adopting else "reduced", stored_bytes)
                return self._report(upload, digest, outcome, result, started)
        if adopting:
            await repository.abandon_upload(upload.location)
            return self._report(upload, digest, outcome, Committed(False, str(outcome.reason), 0), started)
        stored_bytes = await repository.put_blob(digest, upload.spool.path, upload.location)
        repository.memory.forget_layer(digest)
        repository.memory.note_verbatim(digest)
        return self._report(upload, digest, outcome, Committed(False, str(outcome.reason), stored_bytes), started)

    async def _is_stored(self, upload: Upload, digest: Digest) -> bool:
        """Whether the repository already holds the layer in reduced form. If so, the upload's session is cancelled.

        The layer's record then stays as it is, because the records of images name the same blobs.
        """
        repository = upload.repository
        if self._policy is Policy.ATTACH or repository.memory.is_broken(digest):
            return False
        try:
            known = await repository.layer(digest)
            if known is None or not await repository.has_all(known):
                return False
        except Refused:
            return False
        await repository.cancel_upload(upload.location)
        return True

    async def _commit_reduced(self, upload: Upload, digest: Digest, reduction: Reduction) -> int:
        """Stores the blobs, then the record that names them. Returns the number of bytes stored."""
        repository = upload.repository
        encrypt = self._protector.encrypt
        stored, envelope = await self._offload.run(encrypt, repository.name, digest, reduction.instructions)
        instructions = Descriptor(INSTRUCTIONS_TYPE, await self._offload.io(Digest.of, stored), len(stored))
        references = await self._references(repository, reduction)
        puts: list[Any] = [repository.put_blob(instructions.digest, stored, upload.location)]
        own: list[CorpusBlob] = []
        path: Path | None = None
        if reduction.corpus is not None:
            corpus, path = await self._pack(repository.name, reduction.corpus)
            own.append(corpus)
            puts.append(repository.put_blob(corpus.blob.digest, path))
        try:
            stored_bytes: int = sum(await together(*puts))
        finally:
            if path is not None and reduction.corpus is not None and path != reduction.corpus.packed:
                await self._offload.io(path.unlink)
        layer = LayerRecord(
            digest=digest,
            wire_length=reduction.wire_length,
            instructions=instructions,
            corpora=(*references, *own),
            bases=tuple(name for name in reduction.needs if name in self._corpora.bases),
            receipt=reduction.receipt,
            envelope=envelope,
        )
        if reduction.corpus is not None:
            await self._corpora.adopt(own[0], reduction.corpus.packed)
        await repository.put_layer(layer)
        self._idle_queue.note(repository.name, [corpus.corpus_id for corpus in own], digest)
        if own:
            self._corpora.prepare(repository, layer.corpora)
        return stored_bytes + len(layer.to_manifest())

    def _forget(self, repository: RepositoryName, reduction: Reduction) -> None:
        """Removes the corpora that the reduction refers to from the hook index, because the registry may have lost
        them. The next record that names one of them adds it again."""
        for name in reduction.needs:
            if name not in self._corpora.bases:
                self._similar.forget(repository, name)

    async def _pack(self, repository: RepositoryName, corpus: NewCorpus) -> tuple[CorpusBlob, Path]:
        """The new corpus as the record names it, and the file that is to be stored for it."""
        encrypt = self._protector.encrypt_file
        path, envelope = await self._offload.run(encrypt, repository, corpus.corpus_id, corpus.packed)
        digest, length = await self._offload.io(digest_file, path)
        blob = CorpusBlob(
            corpus.corpus_id,
            Descriptor(PACKED_CORPUS_TYPE, digest, length),
            corpus.plain_length,
            corpus.parents,
            pack_hooks(sample(corpus.hooks)),
            envelope,
        )
        return blob, path

    async def _references(self, repository: Repository, reduction: Reduction) -> list[CorpusBlob]:
        """The existing corpora that the rebuild needs, parents first. Those of other repositories are mounted."""
        new = reduction.corpus
        wanted = [*reduction.needs, *(new.parents if new else ())]
        found: dict[str, CorpusBlob] = {}
        for name in wanted:
            if name in self._corpora.bases or (new is not None and name == new.corpus_id):
                continue
            closure = await self._offload.io(self._similar.closure, repository.name, name)
            if closure is None:
                raise ReductoError(f"corpus {name}, to which the layer refers, is no longer known in {repository}")
            for source, blob in closure:
                if blob.corpus_id not in found and source != repository.name:
                    await _mount_corpus(repository, blob, source)
                found[blob.corpus_id] = blob
        return list(found.values())

    def _report(
        self, upload: Upload, digest: Digest, outcome: Reduction | Stored, result: Committed, started: float
    ) -> Committed:
        """Counts and logs the commit; returns ``result``."""
        seconds = time.monotonic() - started
        kind = "reduced" if result.reduced else "stored"
        self._metrics.decisions.labels(outcome=kind, reason=result.reason).inc()
        if result.reason != Reason.TOO_SMALL:
            self._metrics.layer_pushed(upload.length, result.stored_bytes)
            self._metrics.moved("push", upload.length, seconds)
        if isinstance(outcome, Reduction):
            self._metrics.layer_matched(outcome.found_length, outcome.plain_length)
        logs.event(
            "layer",
            repository=str(upload.repository),
            digest=str(digest),
            outcome=kind,
            reason=result.reason,
            wire_bytes=upload.length,
            stored_bytes=result.stored_bytes,
            seconds=round(seconds, 3),
            **({"receipt": outcome.receipt} if isinstance(outcome, Reduction) else {"detail": outcome.detail}),
        )
        return result


async def _mount_corpus(repository: Repository, blob: CorpusBlob, source: RepositoryName) -> None:
    if not await mount(repository, blob.blob.digest, source):
        raise ReductoError(f"corpus {blob.corpus_id} of {source} cannot be mounted in {repository}")


def digest_file(path: Path) -> tuple[Digest, int]:
    """The file's sha256 and its length in bytes. Runs on a worker."""
    with open(path, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        return Digest("sha256", digest), source.tell()
