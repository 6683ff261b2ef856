"""Corpora at hand: layer corpora fetched from the upstream when they are needed, base corpora mapped from the start.

A pull reads a packed corpus while it is still being downloaded; an encoder waits until it is mapped
(`sidecar.cache.corpus_folder` explains the two forms).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reducto.errors import CorpusMissing, Corrupt, ReductoError
from reducto.oci.client import RepositoryClient
from reducto.oci.errors import Refused
from reducto.values import CorpusId, Digest
from sidecar.cache.corpus_folder import CorpusFolder, Known
from sidecar.cache.partial_download import PartialDownload
from sidecar.codec.interface import HEAD_BYTES, Codec, LocalCorpus
from sidecar.records.format import CorpusBlob
from sidecar.records.protection import Protector
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.tasks import Tasks


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A packed corpus on its way from the upstream."""

    digest: Digest
    packed: Path
    """Where its bytes lie until all are there."""
    download: PartialDownload
    task: asyncio.Task[None]


class Corpora:
    """All corpora that this process can read from right now, and how to get more. One per process."""

    def __init__(
        self, folder: CorpusFolder, codec: Codec, protector: Protector, offload: Offload, metrics: Metrics
    ) -> None:
        self._folder = folder
        self._codec = codec
        self._protector = protector
        self._offload = offload
        self._metrics = metrics
        self._bases: dict[CorpusId, LocalCorpus] = {}
        self._flights: dict[tuple[CorpusId, Digest, bool], asyncio.Task[LocalCorpus]] = {}
        self._transfers: dict[CorpusId, _Transfer] = {}
        """Downloads that readers may follow."""
        self._tasks = Tasks()
        """Downloads and preparations."""

    # -- base corpora

    @property
    def bases(self) -> Known:
        """Base corpora by identity."""
        return self._bases

    def replace_bases(self, bases: Known) -> None:
        """The base corpora from now on; running work keeps those it has."""
        self._bases = dict(bases)
        self._metrics.corpora_loaded.labels(kind="base").set(len(bases))

    # -- layer corpora

    async def gather(
        self,
        repository: RepositoryClient,
        blobs: Sequence[CorpusBlob],
        bases: Iterable[CorpusId] = (),
        *,
        known: Known | None = None,
        mapped: bool = False,
    ) -> dict[CorpusId, LocalCorpus]:
        """All these corpora, fetched where they are missing; ``blobs`` has parents before children.

        ``known`` are parents at hand already; with ``mapped`` they come with their tables. Raises `CorpusMissing` for
        a base corpus that is not configured, `Refused`, `Corrupt`.
        """
        found: dict[CorpusId, LocalCorpus] = dict(known or {})
        for base in bases:
            corpus = self._bases.get(base)
            if corpus is None:
                raise CorpusMissing(base)
            found[base] = corpus
        if not mapped:
            await self._begin_all(repository, blobs)
        for blob in blobs:
            found[blob.corpus_id] = await self._one(repository, blob, {**self._bases, **found}, mapped)
        return found

    async def packed(self, repository: RepositoryClient, blob: CorpusBlob) -> Path:
        """The file of a corpus in its packed form, fetched where it is missing."""
        await self._arrived([blob.corpus_id])
        if not await self._offload.io(self._folder.is_packed, blob.corpus_id):
            await self._fetch(repository, blob)
        return self._folder.packed_path(blob.corpus_id)

    async def adopt(self, corpus_id: CorpusId, packed: Path) -> None:
        """Takes over the packed form that an encoder has just written, if there is room for it."""
        try:
            await self._offload.io(self._folder.take, corpus_id, packed)
        except OSError as error:
            logs.event("corpus-not-cached", corpus=corpus_id, error=str(error)[:200])

    def prepare(self, repository: RepositoryClient, blobs: Sequence[CorpusBlob]) -> None:
        """Makes the mapped form of the last of ``blobs`` (its parents before it) when the processors are idle, so that
        the encoder that selects it need not wait for that."""
        self._tasks.start(self._prepare(repository, blobs))

    def missing(self, corpus_ids: Iterable[CorpusId]) -> set[CorpusId]:
        """Those that neither memory nor the folder has. For workers."""
        return {name for name in corpus_ids if name not in self._bases and not self._folder.has(name)}

    def drop(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Forgets local copies, because they may be damaged; the next use fetches them again. For workers."""
        names = list(corpus_ids)
        for name in names:
            self._transfers.pop(name, None)
        self._folder.drop(names)

    def empty(self) -> None:
        """Forgets all local copies. For workers."""
        self.drop(self._folder.names())

    async def stop(self) -> None:
        """Ends downloads and preparations; whoever waits for a download's bytes gets an error."""
        await self._tasks.stop()

    def restore(self) -> None:
        """Notes what an earlier process left in the folder. For a worker."""
        self._folder.restore()

    def close(self) -> None:
        """Gives up temporary files. For a worker."""
        self._folder.close()

    # -- inside

    async def _one(self, repository: RepositoryClient, blob: CorpusBlob, known: Known, mapped: bool) -> LocalCorpus:
        corpus = await self._offload.io(self._at_hand, blob.corpus_id, known, mapped)
        if corpus is not None:
            return corpus
        key = (blob.corpus_id, blob.blob.digest, mapped)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._get(repository, blob, known, mapped))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        try:
            return await asyncio.shield(flight)
        finally:
            del flight  # The task keeps its exception, whose traceback keeps this frame.

    async def _get(self, repository: RepositoryClient, blob: CorpusBlob, known: Known, mapped: bool) -> LocalCorpus:
        if mapped:
            await self._arrived([blob.corpus_id, *known])
        if not await self._offload.io(self._folder.is_packed, blob.corpus_id):
            if mapped or blob.envelope:
                await self._fetch(repository, blob)
            elif (begun := await self._begin(repository, blob, known)) is not None:
                return begun
        if mapped:
            await self._offload.io(self._folder.map, blob.corpus_id, known)
        corpus = await self._offload.io(self._at_hand, blob.corpus_id, known, mapped)
        if corpus is None:
            raise Corrupt(f"corpus {blob.corpus_id} cannot be opened after it was fetched")
        return corpus

    async def _begin_all(self, repository: RepositoryClient, blobs: Sequence[CorpusBlob]) -> None:
        """Begins all missing downloads together: one after the other, each head would take a round trip."""
        missing = await self._offload.io(self.missing, [blob.corpus_id for blob in blobs])
        for blob in blobs:
            if blob.corpus_id in missing and not blob.envelope:
                self._transfer(repository, blob)

    async def _begin(self, repository: RepositoryClient, blob: CorpusBlob, known: Known) -> LocalCorpus | None:
        """The corpus as soon as its head is there; its readers wait for bytes that are still on their way. None when
        the download has ended: then the corpus is in the folder.

        Bytes that are read before the blob's own digest could be checked are checked against the corpus's identity.
        """
        transfer = self._transfer(repository, blob)
        packed, download = transfer.packed, transfer.download
        try:
            await download.reached(min(HEAD_BYTES, blob.blob.size))
            await download.reached(await self._offload.io(self._codec.head_length, packed))
            corpus = await self._offload.io(self._codec.lazy, packed, blob.corpus_id, known, download.wait)
        except FileNotFoundError:  # The file has moved into the folder, or the download failed.
            await asyncio.shield(transfer.task)
            return None
        return self._folder.add_lazy(blob.corpus_id, corpus)

    def _transfer(self, repository: RepositoryClient, blob: CorpusBlob) -> _Transfer:
        """The download of this very blob, already running or begun now."""
        running = self._transfers.get(blob.corpus_id)
        if running is not None and running.digest == blob.blob.digest:
            return running
        packed, download = self._folder.temporary_path(blob.corpus_id), PartialDownload(self._offload.pause)
        task = self._tasks.start(self._fetch(repository, blob, packed, download))
        transfer = self._transfers[blob.corpus_id] = _Transfer(blob.blob.digest, packed, download, task)
        task.add_done_callback(lambda _: self._end_transfer(blob.corpus_id, transfer))
        return transfer

    def _end_transfer(self, corpus_id: CorpusId, transfer: _Transfer) -> None:
        failed = transfer.task.cancelled() or transfer.task.exception() is not None
        if self._transfers.get(corpus_id) is transfer:
            del self._transfers[corpus_id]
            if failed:
                self._folder.discard_lazy(corpus_id)

    async def _arrived(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Returns when none of these is on its way any more. Raises what their download failed with."""
        for corpus_id in corpus_ids:
            if (transfer := self._transfers.get(corpus_id)) is not None:
                await asyncio.shield(transfer.task)

    async def _fetch(
        self,
        repository: RepositoryClient,
        blob: CorpusBlob,
        packed: Path | None = None,
        download: PartialDownload | None = None,
    ) -> None:
        """Brings the packed corpus into the folder, by way of the file ``packed`` that readers of ``download`` see."""
        packed = packed or self._folder.temporary_path(blob.corpus_id)
        try:
            await repository.save_blob(blob.blob, packed, download)
            clear = await self._offload.io(self._protector.decrypt_file, blob.corpus_id, packed, blob.envelope)
            await self._offload.io(os.replace, clear, self._folder.packed_path(blob.corpus_id))
        except BaseException as error:
            self._metrics.corpus_fetches.labels(result="failed").inc()
            if download is not None:
                stopped = ConnectionError("the sidecar is being stopped")
                download.fail(error if isinstance(error, Exception) else stopped)
            await self._offload.io(packed.unlink, True)
            raise
        self._metrics.corpus_fetches.labels(result="fetched").inc()
        await self._offload.io(self._folder.note_use, blob.corpus_id)

    async def _prepare(self, repository: RepositoryClient, blobs: Sequence[CorpusBlob]) -> None:
        try:
            known = await self.gather(repository, blobs[:-1])
            await self._arrived(known)
            await self._offload.background(self._folder.map, blobs[-1].corpus_id, {**self._bases, **known})
        except (Refused, ReductoError, OSError) as error:  # The encoder that selects it will find the fault itself.
            logs.event("corpus-not-prepared", corpus=blobs[-1].corpus_id, error=str(error)[:200])

    def _at_hand(self, corpus_id: CorpusId, known: Known, mapped: bool) -> LocalCorpus | None:
        """The corpus if it can be read without the network. Opens files, so it runs on a worker."""
        if corpus_id in self._bases:
            return self._bases[corpus_id]
        return self._folder.open(corpus_id, known, mapped=mapped)
