"""All corpora that this process can read: base corpora, which are mapped from the start, and layer corpora, which are
fetched from the upstream when they are first needed.

A pull reads a packed corpus while it is still being downloaded. An encoder waits until the corpus is mapped
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
from reducto.oci.registry_errors import Refused
from reducto.values import CorpusId, Digest
from sidecar.cache.corpus_folder import CorpusFolder, OpenCorpora
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
    """The running download of a packed corpus."""

    digest: Digest
    packed: Path
    """The temporary file in which the bytes lie until the download is complete."""
    download: PartialDownload
    task: asyncio.Task[None]


class Corpora:
    """The corpora on the local disk, and the downloads that bring more of them. One per process."""

    def __init__(
        self, folder: CorpusFolder, codec: Codec, protector: Protector, offload: Offload, metrics: Metrics
    ) -> None:
        self._folder = folder
        self._codec = codec
        self._protector = protector
        self._offload = offload
        self._metrics = metrics
        self._bases: dict[CorpusId, LocalCorpus] = {}
        self._opening: dict[tuple[CorpusId, Digest, bool], asyncio.Task[LocalCorpus]] = {}
        """Tasks that fetch and open a corpus, by identity, blob and whether it is to be mapped."""
        self._transfers: dict[CorpusId, _Transfer] = {}
        """Downloads whose bytes can be read while they arrive."""
        self._tasks = Tasks()
        """The tasks of `_transfers` and of `prepare`."""

    # -- base corpora

    @property
    def bases(self) -> OpenCorpora:
        """Base corpora by identity."""
        return self._bases

    def replace_bases(self, bases: OpenCorpora) -> None:
        """Replaces the base corpora. Work that already runs goes on with the corpora that it has."""
        self._bases = dict(bases)
        self._metrics.corpora_loaded.labels(kind="base").set(len(bases))

    # -- layer corpora

    async def gather(
        self,
        repository: RepositoryClient,
        blobs: Sequence[CorpusBlob],
        bases: Iterable[CorpusId] = (),
        *,
        known: OpenCorpora | None = None,
        mapped: bool = False,
    ) -> dict[CorpusId, LocalCorpus]:
        """These layer and base corpora, opened, by identity. Those that are not on this disk are fetched.

        ``blobs`` has parents before children. ``known`` are parents that are open already; they are part of the result.
        With ``mapped`` the corpora of ``blobs`` come in mapped form. Raises `CorpusMissing` for a base corpus that is
        not configured, `Refused`, `Corrupt`.
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
            found[blob.corpus_id] = await self._opened(repository, blob, {**self._bases, **found}, mapped)
        return found

    async def packed(self, repository: RepositoryClient, blob: CorpusBlob) -> Path:
        """The file of a corpus in packed form, which is fetched if it is not on this disk."""
        await self._downloaded([blob.corpus_id])
        if not await self._offload.io(self._folder.is_packed, blob.corpus_id):
            await self._fetch(repository, blob)
        return self._folder.packed_path(blob.corpus_id)

    async def adopt(self, corpus_id: CorpusId, packed: Path) -> None:
        """Moves the packed form that an encoder has just written into the cache, unless the disk is full."""
        try:
            await self._offload.io(self._folder.take, corpus_id, packed)
        except OSError as error:
            logs.event("corpus-not-cached", corpus=corpus_id, error=str(error)[:200])

    def prepare(self, repository: RepositoryClient, blobs: Sequence[CorpusBlob]) -> None:
        """Makes the mapped form of the last of ``blobs`` on the idle worker. The others are its parents.

        An encoder that selects the corpus later then need not wait for its mapped form.
        """
        self._tasks.start(self._prepare(repository, blobs))

    def missing(self, corpus_ids: Iterable[CorpusId]) -> set[CorpusId]:
        """Those of the corpora that are not on this disk. Runs on a worker."""
        return {name for name in corpus_ids if name not in self._bases and not self._folder.has(name)}

    def drop(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Removes local copies, because they may be damaged. The next use fetches them again. Runs on a worker."""
        names = list(corpus_ids)
        for name in names:
            self._transfers.pop(name, None)
        self._folder.drop(names)

    def empty(self) -> None:
        """Removes all local copies of layer corpora. Runs on a worker."""
        self.drop(self._folder.names())

    async def stop(self) -> None:
        """Stops downloads and preparations. A reader that waits for a download's bytes gets a `ConnectionError`."""
        await self._tasks.stop()

    def restore(self) -> None:
        """Notes the corpora that an earlier process left in the folder. Runs on a worker."""
        self._folder.restore()

    def close(self) -> None:
        """Releases open corpora and their temporary files. Runs on a worker."""
        self._folder.close()

    # -- inside

    async def _opened(
        self, repository: RepositoryClient, blob: CorpusBlob, known: OpenCorpora, mapped: bool
    ) -> LocalCorpus:
        corpus = await self._offload.io(self._open_local, blob.corpus_id, known, mapped)
        if corpus is not None:
            return corpus
        key = (blob.corpus_id, blob.blob.digest, mapped)
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.create_task(self._fetch_and_open(repository, blob, known, mapped))
            self._opening[key] = opening
            opening.add_done_callback(lambda _: self._opening.pop(key, None))
        try:
            return await asyncio.shield(opening)
        finally:
            # The task refers to its exception, whose traceback refers to this frame. Without `del` that is a cycle.
            del opening

    async def _fetch_and_open(
        self, repository: RepositoryClient, blob: CorpusBlob, known: OpenCorpora, mapped: bool
    ) -> LocalCorpus:
        if mapped:
            await self._downloaded([blob.corpus_id, *known])
        if not await self._offload.io(self._folder.is_packed, blob.corpus_id):
            if mapped or blob.envelope:
                await self._fetch(repository, blob)
            elif (begun := await self._begin(repository, blob, known)) is not None:
                return begun
        if mapped:
            await self._offload.io(self._folder.map, blob.corpus_id, known)
        corpus = await self._offload.io(self._open_local, blob.corpus_id, known, mapped)
        if corpus is None:
            raise Corrupt(f"corpus {blob.corpus_id} cannot be opened after it was fetched")
        return corpus

    async def _begin_all(self, repository: RepositoryClient, blobs: Sequence[CorpusBlob]) -> None:
        """Begins all missing downloads at once. If each began only when it is opened, each would cost a round trip."""
        missing = await self._offload.io(self.missing, [blob.corpus_id for blob in blobs])
        for blob in blobs:
            if blob.corpus_id in missing and not blob.envelope:
                self._transfer(repository, blob)

    async def _begin(self, repository: RepositoryClient, blob: CorpusBlob, known: OpenCorpora) -> LocalCorpus | None:
        """The corpus as soon as its head has been downloaded. Its readers wait for bytes that have not arrived yet.

        None when the download has ended: the corpus is then in the folder. The blob's digest can be checked only at
        the end of the download, so bytes that are read earlier are checked against the corpus's identity.
        """
        transfer = self._transfer(repository, blob)
        packed, download = transfer.packed, transfer.download
        try:
            await download.reached(min(HEAD_BYTES, blob.blob.size))
            await download.reached(await self._offload.io(self._codec.head_length, packed))
            corpus = await self._offload.io(self._codec.lazy, packed, blob.corpus_id, known, download.wait)
        except FileNotFoundError:  # The download ended, and the file was moved into the folder or removed.
            await asyncio.shield(transfer.task)
            return None
        return self._folder.add_lazy(blob.corpus_id, corpus)

    def _transfer(self, repository: RepositoryClient, blob: CorpusBlob) -> _Transfer:
        """The download of this blob: the one that already runs, or a new one."""
        running = self._transfers.get(blob.corpus_id)
        if running is not None and running.digest == blob.blob.digest:
            return running
        packed, download = self._folder.temporary_path(blob.corpus_id), PartialDownload(self._offload.release_cpu_slot)
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

    async def _downloaded(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Returns when no download of these corpora runs any more. Raises the error with which one failed."""
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
        """Downloads the packed corpus into the temporary file ``packed``, then moves it into the folder.

        The progress is reported to ``download``, if that is given.
        """
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
            await self._downloaded(known)
            await self._offload.background(self._folder.map, blobs[-1].corpus_id, {**self._bases, **known})
        except (Refused, ReductoError, OSError) as error:
            # This is no failure yet: an encoder that selects the corpus tries again, and reports what it meets.
            logs.event("corpus-not-prepared", corpus=blobs[-1].corpus_id, error=str(error)[:200])

    def _open_local(self, corpus_id: CorpusId, known: OpenCorpora, mapped: bool) -> LocalCorpus | None:
        """The corpus, if it can be opened without the network. Runs on a worker."""
        if corpus_id in self._bases:
            return self._bases[corpus_id]
        return self._folder.open(corpus_id, known, mapped=mapped)
