"""Corpora at hand: layer corpora fetched from the upstream and unpacked, base corpora mapped from the start.

The folder is a bounded cache: what was used longest ago goes first. Dropping a corpus only unlinks its file; whoever
reads it keeps the mapping.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reducto.errors import CorpusMissing, Corrupt, ReductoError
from reducto.model import CorpusId
from sidecar import logs
from sidecar.codec import Codec, LocalCorpus
from sidecar.metrics import Metrics
from sidecar.names import Repository
from sidecar.offload import Offload
from sidecar.records import CorpusBlob
from sidecar.seal import Seal
from sidecar.upstream.base import Caller
from sidecar.upstream.client import RegistryClient


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
        self._open: OrderedDict[CorpusId, LocalCorpus] = OrderedDict()
        self._lengths: dict[CorpusId, int] = {}
        self._bases: dict[CorpusId, LocalCorpus] = {}
        self._flights: dict[CorpusId, asyncio.Task[LocalCorpus]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    # -- looking up (thread-safe)

    def at_hand(self, corpus_id: CorpusId) -> LocalCorpus | None:
        """The corpus if it can be read without the network. May open a file: for workers."""
        with self._guard:
            found = self._bases.get(corpus_id) or self._open.get(corpus_id)
            if found is not None:
                if corpus_id in self._open:
                    self._open.move_to_end(corpus_id)
                return found
        path = self._path(corpus_id)
        if not path.exists():
            return None
        try:
            return self._note(self._codec.open(path, corpus_id), path)
        except ReductoError as error:
            logs.trouble("corpus-file-damaged", error, corpus=corpus_id)
            path.unlink(missing_ok=True)
            return None

    @property
    def bases(self) -> Mapping[CorpusId, LocalCorpus]:
        """Base corpora by identity."""
        return self._bases

    def replace_bases(self, bases: Mapping[CorpusId, LocalCorpus]) -> None:
        """The base corpora from now on; running work keeps those it has."""
        with self._guard:
            self._bases = dict(bases)
        self._metrics.corpora_loaded.labels(kind="base").set(len(bases))

    # -- getting

    async def gather(
        self,
        caller: Caller,
        repository: Repository,
        blobs: Sequence[CorpusBlob],
        bases: Iterable[CorpusId] = (),
        known: Mapping[CorpusId, LocalCorpus] | None = None,
    ) -> dict[CorpusId, LocalCorpus]:
        """All these corpora, fetched where they are missing; ``blobs`` has parents before children.

        ``known`` are parents at hand already. Raises `CorpusMissing` for a base corpus that is not configured,
        `Refused`, `Corrupt`.
        """
        found: dict[CorpusId, LocalCorpus] = dict(known or {})
        for base in bases:
            corpus = self._bases.get(base)
            if corpus is None:
                raise CorpusMissing(base)
            found[base] = corpus
        for blob in blobs:
            found[blob.corpus_id] = await self._one(caller, repository, blob, found)
        return found

    async def _one(
        self, caller: Caller, repository: Repository, blob: CorpusBlob, known: Mapping[CorpusId, LocalCorpus]
    ) -> LocalCorpus:
        corpus = await self._offload.io(self.at_hand, blob.corpus_id)
        if corpus is not None:
            return corpus
        flight = self._flights.get(blob.corpus_id)
        if flight is None:
            parents = {name: known[name] for name in blob.parents if name in known}
            flight = asyncio.create_task(self._fetch(caller, repository, blob, parents))
            self._flights[blob.corpus_id] = flight
            flight.add_done_callback(lambda _: self._flights.pop(blob.corpus_id, None))
        return await asyncio.shield(flight)

    async def _fetch(
        self, caller: Caller, repository: Repository, blob: CorpusBlob, parents: Mapping[CorpusId, LocalCorpus]
    ) -> LocalCorpus:
        packed = self._temporary(blob.corpus_id, "packed")
        raw = self._temporary(blob.corpus_id, "raw")
        try:
            await self._client.save_blob(caller, repository, blob.blob, packed)
            clear = await self._offload.io(self._seal.reveal_file, repository, packed)
            await self._offload.io(self._codec.unpack, clear, raw, blob.corpus_id, parents)
            await self._offload.io(os.replace, raw, self._path(blob.corpus_id))
            corpus = await self._offload.io(self.at_hand, blob.corpus_id)
            if corpus is None:
                raise Corrupt(f"corpus {blob.corpus_id} cannot be opened after it was fetched")
        except BaseException:
            self._metrics.corpus_fetches.labels(result="failed").inc()
            raise
        finally:
            for path in (packed, raw):
                await self._offload.io(path.unlink, True)
        self._metrics.corpus_fetches.labels(result="fetched").inc()
        return corpus

    async def adopt(self, corpus_id: CorpusId, raw: Path) -> None:
        """Takes over the raw corpus that an encoder has just written."""
        await self._offload.io(os.replace, raw, self._path(corpus_id))
        await self._offload.io(self.at_hand, corpus_id)

    def drop(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Forgets local copies, because they may be damaged; the next use fetches them again. For workers."""
        for corpus_id in corpus_ids:
            with self._guard:
                self._open.pop(corpus_id, None)
                self._lengths.pop(corpus_id, None)
            self._path(corpus_id).unlink(missing_ok=True)

    # -- inside

    def _path(self, corpus_id: CorpusId) -> Path:
        return self._folder / f"{corpus_id}.rc"

    def _temporary(self, corpus_id: CorpusId, kind: str) -> Path:
        return self._folder / f".{corpus_id}.{secrets.token_hex(4)}.{kind}"

    def _note(self, corpus: LocalCorpus, path: Path) -> LocalCorpus:
        length = path.stat().st_size
        with self._guard:
            corpus = self._open.setdefault(corpus.id, corpus)
            self._open.move_to_end(corpus.id)
            self._lengths[corpus.id] = length
            victims = []
            while sum(self._lengths.values()) > self._max_bytes and len(self._open) > 1:
                victim, _ = self._open.popitem(last=False)
                del self._lengths[victim]
                victims.append(victim)
            self._metrics.corpora_loaded.labels(kind="layer").set(len(self._open))
            self._metrics.corpora_bytes.set(sum(self._lengths.values()))
        for victim in victims:
            with contextlib.suppress(FileNotFoundError):
                self._path(victim).unlink()
        return corpus

    def restore(self) -> None:
        """Opens what an earlier process left in the folder, and clears what it left unfinished. For a worker."""
        entries = [path for path in self._folder.iterdir() if path.is_file()]
        for path in sorted(entries, key=lambda entry: entry.stat().st_mtime):
            if path.suffix == ".rc" and len(path.stem) == 64:
                self.at_hand(CorpusId(path.stem))
            else:
                path.unlink(missing_ok=True)
