"""Brings a finished upload into the upstream: reduced with its record, or as it came."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from reducto.config import Policy
from reducto.errors import ReductoError
from reducto.oci.names import RepositoryName
from reducto.values import Descriptor, Digest, Reason, Stored
from sidecar.cache.corpora import Corpora
from sidecar.cache.idle_queue import Waiting
from sidecar.codec.interface import NewCorpus, Reduction
from sidecar.push.mounts import Mounts
from sidecar.push.sessions import Upload
from sidecar.records.format import INSTRUCTIONS_TYPE, PACKED_CORPUS_TYPE, CorpusBlob, LayerRecord
from sidecar.records.protection import Seal
from sidecar.records.store import RecordStore
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.tasks import together
from sidecar.similarity.candidates import Relatives
from sidecar.similarity.hook_index import pack_hooks, sample
from sidecar.upstream.base import Caller
from sidecar.upstream.client import Refused, RegistryClient


class Keeper:
    """Stores what was pushed. When it returns, the upstream holds it."""

    def __init__(
        self,
        client: RegistryClient,
        records: RecordStore,
        relatives: Relatives,
        corpora: Corpora,
        mounts: Mounts,
        waiting: Waiting,
        seal: Seal,
        policy: Policy,
        offload: Offload,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._records = records
        self._relatives = relatives
        self._corpora = corpora
        self._mounts = mounts
        self._seal = seal
        self._policy = policy
        self._offload = offload
        self._metrics = metrics
        self._waiting = waiting

    async def keep(
        self, caller: Caller, upload: Upload, digest: Digest, outcome: Reduction | Stored, started: float
    ) -> None:
        """Stores the upload as ``outcome`` says; the original whenever that fails. Raises `Refused`, `Unavailable`."""
        if isinstance(outcome, Reduction) and await self._is_kept(caller, upload, digest):
            self.report(upload, digest, outcome, "known", 0, started)
            return
        stored_bytes = 0
        reason = str(outcome.reason) if isinstance(outcome, Stored) else "reduced"
        if isinstance(outcome, Reduction):
            try:
                stored_bytes = await self.keep_reduced(caller, upload, digest, outcome)
            except (Refused, ReductoError, OSError) as error:
                self._metrics.reduce_failures.inc()
                await self._offload.io(self._forget, upload.repository, outcome)
                logs.trouble("reduced-form-not-kept", error, digest=str(digest), repository=str(upload.repository))
                reason, outcome = str(Reason.FAILED), Stored(Reason.FAILED, f"{type(error).__name__}: {error}"[:300])
        if isinstance(outcome, Stored) or self._policy is Policy.ATTACH:
            location = upload.location if isinstance(outcome, Stored) else None
            await self._client.put_blob(caller, upload.repository, digest, upload.spool.path, location)
            stored_bytes += upload.length
        if isinstance(outcome, Stored):
            self._records.forget_layer(upload.repository, digest)
            self._records.note_plain(upload.repository, digest)
        self.report(upload, digest, outcome, reason, stored_bytes, started)

    async def _is_kept(self, caller: Caller, upload: Upload, digest: Digest) -> bool:
        """Whether the repository has a good record of the layer already: then that stays, and with it the records of
        all images that name it."""
        records, repository = self._records, upload.repository
        if self._policy is Policy.ATTACH or records.is_doubted(repository, digest):
            return False
        try:
            known = await records.layer(caller, repository, digest)
            if known is None or not await records.has_all(caller, repository, known):
                return False
        except Refused:
            return False
        await self._client.cancel_upload(caller, upload.location)
        return True

    async def keep_reduced(self, caller: Caller, upload: Upload, digest: Digest, reduction: Reduction) -> int:
        """Blobs first, then the record that names them. Returns the bytes stored."""
        repository = upload.repository
        protect = self._seal.protect
        sealed, envelope = await self._offload.run(protect, repository, digest, reduction.instructions)
        instructions = Descriptor(INSTRUCTIONS_TYPE, await self._offload.io(Digest.of, sealed), len(sealed))
        references = await self._references(caller, repository, reduction)
        puts: list[Any] = [self._client.put_blob(caller, repository, instructions.digest, sealed, upload.location)]
        own: list[CorpusBlob] = []
        path: Path | None = None
        if reduction.corpus is not None:
            corpus, path = await self._pack(repository, reduction.corpus)
            own.append(corpus)
            puts.append(self._client.put_blob(caller, repository, corpus.blob.digest, path))
        try:
            stored: int = sum(await together(*puts))
        finally:
            if path is not None and reduction.corpus is not None and path != reduction.corpus.packed:
                await self._offload.io(path.unlink)
        layer = LayerRecord(
            digest,
            reduction.wire_length,
            instructions,
            (*references, *own),
            tuple(name for name in reduction.needs if name in self._corpora.bases),
            reduction.receipt,
            envelope,
        )
        if reduction.corpus is not None:
            await self._corpora.adopt(reduction.corpus.corpus_id, reduction.corpus.packed)
        await self._records.put_layer(caller, repository, layer)
        self._waiting.note(repository, [corpus.corpus_id for corpus in own], digest)
        if own:
            self._corpora.prepare(caller, repository, layer.corpora)
        return stored + len(layer.to_manifest())

    def _forget(self, repository: RepositoryName, reduction: Reduction) -> None:
        """The corpora it refers to may be gone from the registry: they are not proposed again until seen again."""
        for name in reduction.needs:
            if name not in self._corpora.bases:
                self._relatives.forget(repository, name)

    async def _pack(self, repository: RepositoryName, corpus: NewCorpus) -> tuple[CorpusBlob, Path]:
        protect = self._seal.protect_file
        path, envelope = await self._offload.run(protect, repository, corpus.corpus_id, corpus.packed)
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

    async def _references(self, caller: Caller, repository: RepositoryName, reduction: Reduction) -> list[CorpusBlob]:
        """Corpora that were there before and that the rebuild needs, parents first, all named in this repository."""
        new = reduction.corpus
        wanted = [*reduction.needs, *(new.parents if new else ())]
        found: dict[str, CorpusBlob] = {}
        for name in wanted:
            if name in self._corpora.bases or (new is not None and name == new.corpus_id):
                continue
            closure = await self._offload.io(self._relatives.closure, repository, name)
            if closure is None:
                raise ReductoError(f"corpus {name} was used and is no longer known in {repository}")
            for home, blob in closure:
                if blob.corpus_id not in found and home != repository:
                    await self._bring(caller, repository, blob, home)
                found[blob.corpus_id] = blob
        return list(found.values())

    async def _bring(self, caller: Caller, repository: RepositoryName, blob: CorpusBlob, home: RepositoryName) -> None:
        if not await self._mounts.mount(caller, repository, blob.blob.digest, home):
            raise ReductoError(f"corpus {blob.corpus_id} of {home} cannot be mounted in {repository}")

    def report(
        self,
        upload: Upload,
        digest: Digest,
        outcome: Reduction | Stored,
        reason: str,
        stored_bytes: int,
        started: float,
    ) -> None:
        seconds = time.monotonic() - started
        kind = "stored" if isinstance(outcome, Stored) else "reduced"
        self._metrics.decisions.labels(outcome=kind, reason=reason).inc()
        if reason != Reason.TOO_SMALL:
            self._metrics.layer_pushed(upload.length, stored_bytes)
            self._metrics.moved("push", upload.length, seconds)
        if isinstance(outcome, Reduction):
            self._metrics.layer_matched(outcome.found_length, outcome.plain_length)
        logs.event(
            "layer",
            repository=str(upload.repository),
            digest=str(digest),
            outcome=kind,
            reason=reason,
            wire_bytes=upload.length,
            stored_bytes=stored_bytes,
            seconds=round(seconds, 3),
            **({"receipt": outcome.receipt} if isinstance(outcome, Reduction) else {"detail": outcome.detail}),
        )


def digest_file(path: Path) -> tuple[Digest, int]:
    """The file's sha256 and its length in bytes. For workers."""
    with open(path, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        return Digest("sha256", digest), source.tell()
