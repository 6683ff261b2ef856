"""Corpora at hand: layer corpora fetched from the upstream, base corpora mapped from the start.

A layer corpus lies here in one of two forms. *Packed*, as it came (`<id>.rcp`), its bytes decoded when a rebuild wants
them: a pull begins at once. *Mapped* (`<id>.rc`), with its tables: what an encoder needs, made when first elected.

The folder is a bounded cache: what was used longest ago goes first. Dropping a corpus only unlinks its files;
whoever reads it keeps the mapping.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reducto.errors import CorpusMissing, Corrupt, ReductoError
from reducto.oci.names import RepositoryName
from reducto.values import CorpusId, Digest
from sidecar.cache.partial_download import Arrival
from sidecar.codec.interface import HEAD_BYTES, Codec, LocalCorpus
from sidecar.records.format import CorpusBlob
from sidecar.records.protection import Seal
from sidecar.runtime import logs
from sidecar.runtime.atomic import move
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.tasks import Tasks
from sidecar.upstream.base import Caller
from sidecar.upstream.client import Refused, RegistryClient

Known = Mapping[CorpusId, LocalCorpus]


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A packed corpus on its way from the upstream."""

    digest: Digest
    packed: Path
    """Where its bytes lie until all are there."""
    arrival: Arrival
    task: asyncio.Task[None]


class Corpora:
    """All corpora that this process can read from right now, and how to get more."""

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        codec: Codec,
        client: RegistryClient,
        seal: Seal,
        offload: Offload,
        metrics: Metrics,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._codec = codec
        self._client = client
        self._seal = seal
        self._offload = offload
        self._metrics = metrics
        self._guard = threading.Lock()
        self._mapped: dict[CorpusId, LocalCorpus] = {}
        self._lazy: dict[CorpusId, LocalCorpus] = {}
        self._lengths: OrderedDict[CorpusId, int] = OrderedDict()
        """Bytes on disk of every layer corpus, least recently used first."""
        self._bases: dict[CorpusId, LocalCorpus] = {}
        self._flights: dict[tuple[CorpusId, Digest, bool], asyncio.Task[LocalCorpus]] = {}
        self._transfers: dict[CorpusId, _Transfer] = {}
        """Those that readers follow."""
        self._tasks = Tasks()
        """Transfers and preparations."""

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
        caller: Caller,
        repository: RepositoryName,
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
            await self._begin_all(caller, repository, blobs)
        for blob in blobs:
            found[blob.corpus_id] = await self._one(caller, repository, blob, {**self._bases, **found}, mapped)
        return found

    async def packed(self, caller: Caller, repository: RepositoryName, blob: CorpusBlob) -> Path:
        """The file of a corpus in its packed form, fetched where it is missing."""
        path = self._file(blob.corpus_id, ".rcp")
        await self._arrived([blob.corpus_id])
        if not await self._offload.io(path.exists):
            await self._fetch(caller, repository, blob)
        return path

    async def adopt(self, corpus_id: CorpusId, packed: Path) -> None:
        """Takes over the packed form that an encoder has just written, if there is room for it."""
        try:
            await self._offload.io(move, packed, self._file(corpus_id, ".rcp"))
        except OSError as error:
            logs.event("corpus-not-cached", corpus=corpus_id, error=str(error)[:200])
        else:
            await self._offload.io(self._use, corpus_id)

    def prepare(self, caller: Caller, repository: RepositoryName, blobs: Sequence[CorpusBlob]) -> None:
        """Makes the mapped form of the last of ``blobs`` (its parents before it) when there is nothing better to do,
        so that the encoder that elects it need not wait for that."""
        self._tasks.start(self._prepare(caller, repository, blobs))

    def drop(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Forgets local copies, because they may be damaged; the next use fetches them again. For workers."""
        for corpus_id in corpus_ids:
            with self._guard:
                self._transfers.pop(corpus_id, None)
                self._mapped.pop(corpus_id, None)
                self._lazy.pop(corpus_id, None)  # its temporary file goes with its last reader
                self._lengths.pop(corpus_id, None)
            for suffix in (".rc", ".rcp"):
                self._file(corpus_id, suffix).unlink(missing_ok=True)

    async def stop(self) -> None:
        """Ends transfers and preparations; who waits for a transfer's bytes gets an error."""
        await self._tasks.stop()

    def empty(self) -> None:
        """Forgets all local copies. For workers."""
        with self._guard:
            names = list(self._lengths)
        self.drop(names)

    def close(self) -> None:
        """Gives up temporary files. For a worker."""
        for corpus in self._lazy.values():
            self._codec.release(corpus)
        self._lazy.clear()

    def restore(self) -> None:
        """Notes what an earlier process left in the folder, and clears what it left unfinished. For a worker."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime):
            if path.suffix in (".rc", ".rcp") and len(path.stem) == 64:
                self._use(CorpusId(path.stem))
            else:
                path.unlink(missing_ok=True)

    # -- inside: one corpus

    async def _one(
        self, caller: Caller, repository: RepositoryName, blob: CorpusBlob, known: Known, mapped: bool
    ) -> LocalCorpus:
        corpus = await self._offload.io(self._at_hand, blob.corpus_id, known, mapped)
        if corpus is not None:
            return corpus
        key = (blob.corpus_id, blob.blob.digest, mapped)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._get(caller, repository, blob, known, mapped))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        try:
            return await asyncio.shield(flight)
        finally:
            del flight  # which keeps its exception, whose traceback keeps this frame

    async def _get(
        self, caller: Caller, repository: RepositoryName, blob: CorpusBlob, known: Known, mapped: bool
    ) -> LocalCorpus:
        if mapped:
            await self._arrived([blob.corpus_id, *known])
        if not await self._offload.io(self._file(blob.corpus_id, ".rcp").exists):
            if mapped or blob.envelope:
                await self._fetch(caller, repository, blob)
            elif (begun := await self._begin(caller, repository, blob, known)) is not None:
                return begun
        if mapped:
            await self._offload.io(self._map, blob.corpus_id, known)
        corpus = await self._offload.io(self._at_hand, blob.corpus_id, known, mapped)
        if corpus is None:
            raise Corrupt(f"corpus {blob.corpus_id} cannot be opened after it was fetched")
        return corpus

    async def _begin_all(self, caller: Caller, repository: RepositoryName, blobs: Sequence[CorpusBlob]) -> None:
        """Begins the transfers of all that is missing: one after the other, each head would take a round trip."""
        missing = await self._offload.io(self.missing, [blob.corpus_id for blob in blobs])
        for blob in blobs:
            if blob.corpus_id in missing and not blob.envelope:
                self._transfer(caller, repository, blob)

    async def _begin(
        self, caller: Caller, repository: RepositoryName, blob: CorpusBlob, known: Known
    ) -> LocalCorpus | None:
        """The corpus as soon as its head is there; whoever reads it waits for what is still on its way. None if nothing
        is any more: then it is at its place.

        What is read before the blob's own digest could be checked is checked against the corpus's identity.
        """
        transfer = self._transfer(caller, repository, blob)
        packed, arrival = transfer.packed, transfer.arrival
        try:
            await arrival.reached(min(HEAD_BYTES, blob.blob.size))
            await arrival.reached(await self._offload.io(self._codec.head_length, packed))
            corpus = await self._offload.io(self._codec.lazy, packed, blob.corpus_id, known, arrival.wait)
        except FileNotFoundError:  # it has moved to its place, or failed
            await asyncio.shield(transfer.task)
            return None
        with self._guard:
            return self._lazy.setdefault(blob.corpus_id, corpus)

    def _transfer(self, caller: Caller, repository: RepositoryName, blob: CorpusBlob) -> _Transfer:
        """The transfer of this very blob, already running or begun now."""
        running = self._transfers.get(blob.corpus_id)
        if running is not None and running.digest == blob.blob.digest:
            return running
        packed, arrival = self._temporary(blob.corpus_id), Arrival(self._offload.pause)
        task = self._tasks.start(self._fetch(caller, repository, blob, packed, arrival))
        transfer = self._transfers[blob.corpus_id] = _Transfer(blob.blob.digest, packed, arrival, task)
        task.add_done_callback(lambda _: self._settle(blob.corpus_id, transfer))
        return transfer

    def _settle(self, corpus_id: CorpusId, transfer: _Transfer) -> None:
        failed = transfer.task.cancelled() or transfer.task.exception() is not None
        if self._transfers.get(corpus_id) is transfer:
            del self._transfers[corpus_id]
            if failed:
                with self._guard:
                    self._lazy.pop(corpus_id, None)

    def missing(self, corpus_ids: Iterable[CorpusId]) -> set[CorpusId]:
        """Those that neither memory nor the folder has. Looks at the disk: for workers."""
        return {
            corpus_id
            for corpus_id in corpus_ids
            if not any(corpus_id in corpora for corpora in (self._bases, self._mapped, self._lazy))
            and not any(self._file(corpus_id, suffix).exists() for suffix in (".rc", ".rcp"))
        }

    async def _arrived(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Returns when none of these is on its way any more. Raises what their transfer failed with."""
        for corpus_id in corpus_ids:
            if (transfer := self._transfers.get(corpus_id)) is not None:
                await asyncio.shield(transfer.task)

    async def _fetch(
        self,
        caller: Caller,
        repository: RepositoryName,
        blob: CorpusBlob,
        packed: Path | None = None,
        arrival: Arrival | None = None,
    ) -> None:
        """Brings the packed corpus to its place; by way of ``packed``, which others read as ``arrival`` tells."""
        packed = packed or self._temporary(blob.corpus_id)
        try:
            await self._client.save_blob(caller, repository, blob.blob, packed, arrival)
            clear = await self._offload.io(self._seal.reveal_file, blob.corpus_id, packed, blob.envelope)
            await self._offload.io(os.replace, clear, self._file(blob.corpus_id, ".rcp"))
        except BaseException as error:
            self._metrics.corpus_fetches.labels(result="failed").inc()
            if arrival is not None:
                arrival.fail(error if isinstance(error, Exception) else ConnectionError("the sidecar is being stopped"))
            await self._offload.io(packed.unlink, True)
            raise
        self._metrics.corpus_fetches.labels(result="fetched").inc()
        await self._offload.io(self._use, blob.corpus_id)

    async def _prepare(self, caller: Caller, repository: RepositoryName, blobs: Sequence[CorpusBlob]) -> None:
        try:
            known = await self.gather(caller, repository, blobs[:-1])
            await self._arrived(known)
            await self._offload.background(self._map, blobs[-1].corpus_id, {**self._bases, **known})
        except (Refused, ReductoError, OSError) as error:  # whoever elects it will see for himself
            logs.event("corpus-not-prepared", corpus=blobs[-1].corpus_id, error=str(error)[:200])

    def _at_hand(self, corpus_id: CorpusId, known: Known, mapped: bool) -> LocalCorpus | None:
        """The corpus if it can be read without the network. Opens files: for workers."""
        if corpus_id in self._bases:
            return self._bases[corpus_id]
        self._use(corpus_id)
        corpus = self._open_mapped(corpus_id)
        if corpus is not None or mapped:
            return corpus
        return self._open_lazy(corpus_id, known)

    def _open_mapped(self, corpus_id: CorpusId) -> LocalCorpus | None:
        found = self._mapped.get(corpus_id)
        path = self._file(corpus_id, ".rc")
        if found is not None or not path.exists():
            return found
        return self._opened(self._mapped, corpus_id, path, lambda: self._codec.open(path, corpus_id))

    def _open_lazy(self, corpus_id: CorpusId, known: Known) -> LocalCorpus | None:
        found = self._lazy.get(corpus_id)
        path = self._file(corpus_id, ".rcp")
        if found is not None or not path.exists():
            return found
        return self._opened(self._lazy, corpus_id, path, lambda: self._codec.lazy(path, corpus_id, known))

    def _opened(self, where, corpus_id: CorpusId, path: Path, opening) -> LocalCorpus | None:  # type: ignore[no-untyped-def]
        try:
            corpus: LocalCorpus = opening()
        except ReductoError as error:
            logs.trouble("corpus-file-damaged", error, corpus=corpus_id, file=path.name)
            path.unlink(missing_ok=True)
            return None
        with self._guard:
            corpus = where.setdefault(corpus_id, corpus)
        self._use(corpus_id)
        return corpus

    def _map(self, corpus_id: CorpusId, known: Known) -> None:
        """Makes the mapped form of a packed corpus. Raises `Corrupt`.

        For disk workers: encoders on all kernel workers may be waiting for it.
        """
        if self._file(corpus_id, ".rc").exists():
            return
        source = self._open_lazy(corpus_id, known)
        if source is None:
            raise Corrupt(f"the packed corpus {corpus_id} is damaged")
        temporary = self._temporary(corpus_id)
        try:
            self._codec.write_mapped(source, temporary)
            os.replace(temporary, self._file(corpus_id, ".rc"))
        finally:
            temporary.unlink(missing_ok=True)
        with self._guard:
            self._lazy.pop(corpus_id, None)  # whoever comes now finds the mapped form

    # -- inside: the folder

    def _use(self, corpus_id: CorpusId) -> None:
        """Notes that the corpus was used, and drops others when the folder has grown too large."""
        length = 0
        for suffix in (".rc", ".rcp"):
            with contextlib.suppress(FileNotFoundError):
                length += self._file(corpus_id, suffix).stat().st_size
        if not length:
            return
        with self._guard:
            self._lengths[corpus_id] = length
            self._lengths.move_to_end(corpus_id)
            total, victims = sum(self._lengths.values()), []
            for victim, victim_length in self._lengths.items():
                if total <= self._max_bytes or victim == corpus_id:
                    break
                victims.append(victim)
                total -= victim_length
        self.drop(victims)
        self._metrics.corpora_bytes.set(total)
        self._metrics.corpora_loaded.labels(kind="layer").set(len(self._lengths))

    def _file(self, corpus_id: CorpusId, suffix: str) -> Path:
        return self._folder / f"{corpus_id}{suffix}"

    def _temporary(self, corpus_id: CorpusId) -> Path:
        return self._folder / f".{corpus_id}.{secrets.token_hex(4)}"
