"""Corpora at hand: layer corpora fetched from the upstream when they are needed, base corpora mapped from the start.

A pull reads a packed corpus while it is still being downloaded; an encoder waits until it is mapped
(`sidecar.cache.corpus_folder` explains the two forms).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reducto.errors import CorpusMissing, Corrupt, ReductoError
from reducto.oci.registry_errors import Refused
from reducto.values import CorpusId
from sidecar.cache.corpus_folder import CorpusFolder, Name, OpenCorpora, name_of
from sidecar.cache.partial_download import PartialDownload
from sidecar.codec.interface import HEAD_BYTES, Codec, LocalCorpus
from sidecar.records.format import CorpusBlob
from sidecar.records.protection import Protector
from sidecar.records.repository import Repository
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.tasks import Tasks, cancelled, together


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A packed corpus on its way from the upstream."""

    packed: Path
    """Where its bytes lie until all are there."""
    download: PartialDownload
    task: asyncio.Task[None]
    readers: list[LocalCorpus] = field(default_factory=list)
    """Corpora that are read from it."""


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
        self._opening: dict[tuple[Name, bool, tuple[int, ...]], asyncio.Task[LocalCorpus]] = {}
        self._transfers: dict[Name, _Transfer] = {}
        """Downloads that readers may follow."""
        self._pending: dict[int, _Transfer] = {}
        """Downloads by the `id` of the corpus that is read from them; the transfer keeps the corpus."""
        self._tasks = Tasks()
        """Downloads and preparations."""

    # -- base corpora

    @property
    def bases(self) -> OpenCorpora:
        """Base corpora by identity."""
        return self._bases

    def replace_bases(self, bases: OpenCorpora) -> None:
        """The base corpora from now on; running work keeps those it has."""
        self._bases = dict(bases)
        self._metrics.corpora_loaded.labels(kind="base").set(len(bases))

    # -- layer corpora

    async def gather(
        self,
        repository: Repository,
        blobs: Sequence[CorpusBlob],
        bases: Iterable[CorpusId] = (),
        *,
        known: OpenCorpora | None = None,
        mapped: bool = False,
    ) -> dict[CorpusId, LocalCorpus]:
        """All these corpora, fetched where they are missing; ``blobs`` has parents before children.

        ``known`` are parents at hand already; with ``mapped`` they come with their tables. A corpus at hand is used
        only after the upstream has shown this very caller the blob that holds it. Raises `CorpusMissing` for a base
        corpus that is not configured and for a blob that is not shown, `Refused`, `Corrupt`.
        """
        found: dict[CorpusId, LocalCorpus] = dict(known or {})
        for base in bases:
            corpus = self._bases.get(base)
            if corpus is None:
                raise CorpusMissing(base)
            found[base] = corpus
        if not mapped:
            await self._begin_all(repository, blobs)
        # While corpora are on their way: the question costs no round trip more than their own requests.
        shown = asyncio.create_task(self._check_shown(repository, blobs))
        try:
            for blob in blobs:
                found[blob.corpus_id] = await self._opened(repository, blob, {**self._bases, **found}, mapped)
        except BaseException:
            await cancelled(shown)
            raise
        await shown
        return found

    async def _check_shown(self, repository: Repository, blobs: Sequence[CorpusBlob]) -> None:
        """Raises `CorpusMissing` for a blob that the upstream does not show to this caller, and `Refused`."""
        shown = await together(*(repository.shows_blob(blob.blob.digest) for blob in blobs))
        for blob, here in zip(blobs, shown, strict=True):
            if not here:
                raise CorpusMissing(blob.corpus_id)

    async def packed(self, repository: Repository, blob: CorpusBlob) -> Path:
        """The file of a corpus in its packed form, fetched where it is missing."""
        await self._downloaded(self._transfers.get(name_of(blob)))
        if not await self._offload.io(self._folder.is_packed, blob):
            await self._fetch(repository, blob)
        return self._folder.packed_path(blob)

    async def adopt(self, blob: CorpusBlob, packed: Path) -> None:
        """Takes over the packed form that an encoder has just written, if there is room for it."""
        try:
            await self._offload.io(self._folder.take, blob, packed)
        except OSError as error:
            logs.event("corpus-not-cached", corpus=blob.corpus_id, error=str(error)[:200])

    async def alias(self, known: CorpusBlob, blob: CorpusBlob) -> None:
        """Notes that ``blob`` was proved to hold the corpus that ``known`` holds: its mapped form need not be made."""
        await self._offload.io(self._folder.alias, known, blob)

    def prepare(self, repository: Repository, blobs: Sequence[CorpusBlob]) -> None:
        """Makes the mapped form of the last of ``blobs`` (its parents before it) when the processors are idle, so that
        the encoder that selects it need not wait for that."""
        self._tasks.start(self._prepare(repository, blobs))

    def missing(self, blobs: Iterable[CorpusBlob]) -> list[CorpusBlob]:
        """Those that neither memory nor the folder has. For workers."""
        return [blob for blob in blobs if blob.corpus_id not in self._bases and not self._folder.has(blob)]

    def drop(self, blobs: Sequence[CorpusBlob]) -> None:
        """Forgets local copies, because they may be damaged; the next use fetches them again. For workers."""
        for blob in blobs:
            self._transfers.pop(name_of(blob), None)
        self._folder.drop(blobs)

    def empty(self) -> None:
        """Forgets all local copies. For workers."""
        self._transfers.clear()
        self._folder.empty()

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

    async def _opened(self, repository: Repository, blob: CorpusBlob, known: OpenCorpora, mapped: bool) -> LocalCorpus:
        corpus = await self._offload.io(self._open_local, blob, known, mapped)
        if corpus is not None:
            return corpus
        parents = self._folder.parents_of(blob, known).values()
        key = (name_of(blob), mapped, tuple(map(id, parents)))
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.create_task(self._fetch_and_open(repository, blob, known, mapped))
            self._opening[key] = opening
            opening.add_done_callback(lambda _: self._opening.pop(key, None))
        try:
            return await asyncio.shield(opening)
        finally:
            del opening  # The task keeps its exception, whose traceback keeps this frame.

    async def _fetch_and_open(
        self, repository: Repository, blob: CorpusBlob, known: OpenCorpora, mapped: bool
    ) -> LocalCorpus:
        if mapped:
            for transfer in (self._transfers.get(name_of(blob)), *self._transfers_of(known)):
                await self._downloaded(transfer)
        if not await self._offload.io(self._folder.is_packed, blob):
            if mapped or blob.envelope:
                await self._fetch(repository, blob)
            elif (begun := await self._begin(repository, blob, known)) is not None:
                return begun
        if mapped:
            await self._offload.io(self._folder.map, blob, known)
        corpus = await self._offload.io(self._open_local, blob, known, mapped)
        if corpus is None:
            raise Corrupt(f"corpus {blob.corpus_id} cannot be opened after it was fetched")
        return corpus

    async def _begin_all(self, repository: Repository, blobs: Sequence[CorpusBlob]) -> None:
        """Begins all missing downloads together: one after the other, each head would take a round trip."""
        for blob in await self._offload.io(self.missing, blobs):
            if not blob.envelope:
                self._transfer(repository, blob)

    async def _begin(self, repository: Repository, blob: CorpusBlob, known: OpenCorpora) -> LocalCorpus | None:
        """The corpus as soon as its head is there; its readers wait for bytes that are still on their way. None when
        the download has ended: then the corpus is in the folder.

        Bytes that are read before the blob's own digest could be checked are checked against the corpus's identity.
        """
        transfer = self._transfer(repository, blob)
        packed, download = transfer.packed, transfer.download
        try:
            await download.reached(min(HEAD_BYTES, blob.blob.size))
            await download.reached(await self._offload.io(self._codec.head_length, packed))
            parents = self._folder.parents_of(blob, known)
            made = await self._offload.io(self._codec.lazy, packed, blob.corpus_id, parents, download.wait)
        except FileNotFoundError:  # The file has moved into the folder, or the download failed.
            await asyncio.shield(transfer.task)
            return None
        corpus = self._folder.add_lazy(blob, known, made)
        if not transfer.task.done():
            transfer.readers.append(corpus)
            self._pending[id(corpus)] = transfer
        return corpus

    def _transfer(self, repository: Repository, blob: CorpusBlob) -> _Transfer:
        """The download of this very blob, already running or begun now."""
        name = name_of(blob)
        running = self._transfers.get(name)
        if running is not None:
            return running
        packed, download = self._folder.temporary_path(blob), PartialDownload(self._offload.release_cpu_slot)
        task = self._tasks.start(self._fetch(repository, blob, packed, download))
        transfer = self._transfers[name] = _Transfer(packed, download, task)
        task.add_done_callback(lambda _: self._end_transfer(blob, transfer))
        return transfer

    def _end_transfer(self, blob: CorpusBlob, transfer: _Transfer) -> None:
        failed = transfer.task.cancelled() or transfer.task.exception() is not None
        for corpus in transfer.readers:
            self._pending.pop(id(corpus), None)
        if self._transfers.get(name_of(blob)) is transfer:
            del self._transfers[name_of(blob)]
            if failed:
                self._folder.discard_lazy(blob)

    def _transfers_of(self, known: OpenCorpora) -> list[_Transfer]:
        """The downloads from which any of these corpora is still read."""
        return [self._pending[id(corpus)] for corpus in known.values() if id(corpus) in self._pending]

    @staticmethod
    async def _downloaded(transfer: _Transfer | None) -> None:
        """Returns when the download has ended. Raises what it failed with."""
        if transfer is not None:
            await asyncio.shield(transfer.task)

    async def _fetch(
        self,
        repository: Repository,
        blob: CorpusBlob,
        packed: Path | None = None,
        download: PartialDownload | None = None,
    ) -> None:
        """Brings the packed corpus into the folder, by way of the file ``packed`` that readers of ``download`` see."""
        packed = packed or self._folder.temporary_path(blob)
        try:
            await repository.save_blob(blob.blob, packed, download)
            clear = await self._offload.io(self._protector.decrypt_file, blob.corpus_id, packed, blob.envelope)
            await self._offload.io(os.replace, clear, self._folder.packed_path(blob))
        except BaseException as error:
            self._metrics.corpus_fetches.labels(result="failed").inc()
            if download is not None:
                stopped = ConnectionError("the sidecar is being stopped")
                download.fail(error if isinstance(error, Exception) else stopped)
            await self._offload.io(packed.unlink, True)
            raise
        self._metrics.corpus_fetches.labels(result="fetched").inc()
        await self._offload.io(self._folder.note_use, name_of(blob))

    async def _prepare(self, repository: Repository, blobs: Sequence[CorpusBlob]) -> None:
        try:
            known = await self.gather(repository, blobs[:-1])
            for transfer in self._transfers_of(known):
                await self._downloaded(transfer)
            await self._offload.background(self._folder.map, blobs[-1], {**self._bases, **known})
        except (Refused, ReductoError, OSError) as error:  # The encoder that selects it will find the fault itself.
            logs.event("corpus-not-prepared", corpus=blobs[-1].corpus_id, error=str(error)[:200])

    def _open_local(self, blob: CorpusBlob, known: OpenCorpora, mapped: bool) -> LocalCorpus | None:
        """The corpus if it can be read without the network. Opens files, so it runs on a worker."""
        if blob.corpus_id in self._bases:
            return self._bases[blob.corpus_id]
        return self._folder.open(blob, known, mapped=mapped)
