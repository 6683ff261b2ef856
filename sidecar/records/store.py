"""Finds and keeps records in the upstream, always with the caller's own rights.

What was read once is remembered, but a remembered record is used for a caller only after the upstream has shown that
very caller the manifest it came from.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from multidict import CIMultiDict

from reducto.errors import ReductoError, Untrusted
from reducto.oci.errors import ManifestInvalid, UpstreamBroken
from reducto.oci.manifest import OCI_MANIFEST
from reducto.oci.names import Reference, RepositoryName, Tag
from reducto.values import Digest
from sidecar.records import originals
from sidecar.records.format import (
    CONFIG,
    CONFIG_DESCRIPTOR,
    ImageRecord,
    IndexRecord,
    LayerRecord,
    Record,
    is_record,
    original_pointer,
    parse_record,
    record_media_type,
)
from sidecar.records.locks import Turns
from sidecar.records.protection import Seal
from sidecar.records.tags import record_tag
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.recent import remember
from sidecar.similarity.candidates import Relatives
from sidecar.upstream.base import Caller
from sidecar.upstream.client import Refused, RegistryClient, StoredManifest

K = TypeVar("K")
V = TypeVar("V")

_MEMORY_ENTRIES = 50_000
_SCAN_TAGS = 4096
_SCAN_PARALLEL = 16
_SCAN_PAUSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Held:
    """A record, and the digest of the manifest in the upstream that holds it."""

    record: Record
    holder: Digest
    length: int
    """Bytes of that manifest."""


@dataclass(frozen=True, slots=True)
class HeldLayer:
    """A layer's record, and the manifest that holds it: its own, or an image's."""

    layer: LayerRecord
    holder: Digest


class RecordStore:
    """All records of the upstream. One per process."""

    def __init__(
        self, client: RegistryClient, relatives: Relatives, seal: Seal, offload: Offload, metrics: Metrics
    ) -> None:
        self._client = client
        self._relatives = relatives
        self._seal = seal
        self._offload = offload
        self._metrics = metrics
        self._layers: OrderedDict[tuple[RepositoryName, Digest], HeldLayer] = OrderedDict()
        self._manifests: OrderedDict[tuple[RepositoryName, Digest], Digest] = OrderedDict()
        self._doubted: OrderedDict[tuple[RepositoryName, Digest], None] = OrderedDict()
        self._plain: OrderedDict[tuple[RepositoryName, Digest], None] = OrderedDict()
        self._configured: set[RepositoryName] = set()
        self._scans: dict[RepositoryName, tuple[float, asyncio.Task[None]]] = {}
        self._seen: set[tuple[RepositoryName, str]] = set()
        self.turns = Turns()
        """Who writes manifests holds a turn, so that records are never rewritten over a push."""

    # -- layers

    async def layer(
        self, caller: Caller, repository: RepositoryName, digest: Digest, *, authorised: bool = False
    ) -> LayerRecord | None:
        """The layer's record, if this caller may see it. With ``authorised`` a later call to the upstream decides."""
        held = self._layers.get((repository, digest))
        if held is not None:
            if authorised or await self._client.may_read(caller, repository, held.holder):
                return held.layer
            self.forget_layer(repository, digest)
        found = await self._read(caller, repository, record_tag(digest))
        if found is None or not isinstance(found.record, LayerRecord) or found.record.digest != digest:
            return None
        return found.record

    def remembered_layer(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the layer is known to be reduced, right or not."""
        return (repository, digest) in self._layers

    def is_plain(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the blob was lately seen stored as it came: a hint that saves a look-up."""
        return (repository, digest) in self._plain

    def note_plain(self, repository: RepositoryName, digest: Digest) -> None:
        """Hints that the blob is stored as it came."""
        remember(self._plain, (repository, digest), None, _MEMORY_ENTRIES)

    async def put_layer(self, caller: Caller, repository: RepositoryName, layer: LayerRecord) -> Digest:
        """Stores a layer's record; every blob that it names must be there. Returns its manifest's digest."""
        layer = layer.rewrapped(partial(self._seal.rewrap, repository))
        data = await self._offload.io(self._seal.sign, repository, layer.to_manifest())
        await self._put(caller, repository, record_tag(layer.digest), data, layer)
        holder = Digest.of(data)
        self._doubted.pop((repository, layer.digest), None)
        await self._learn(repository, layer, holder)
        return holder

    def doubt(self, repository: RepositoryName, digest: Digest) -> None:
        """Notes that the layer could not be rebuilt: if somebody pushes it again, that is not superfluous."""
        remember(self._doubted, (repository, digest), None, _MEMORY_ENTRIES)

    def is_doubted(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether `doubt` was noted, and nothing was stored since."""
        return (repository, digest) in self._doubted

    async def has_all(self, caller: Caller, repository: RepositoryName, layer: LayerRecord) -> bool:
        """Whether every blob that the rebuild needs is there. Raises `Refused`."""
        held = (self._client.has_blob(caller, repository, blob.digest) for blob in layer.needed_blobs)
        return all(await asyncio.gather(*held))

    def forget_layer(self, repository: RepositoryName, digest: Digest) -> None:
        """Drops what is remembered of a layer."""
        self._doubted.pop((repository, digest), None)
        self._layers.pop((repository, digest), None)
        self._plain.pop((repository, digest), None)

    # -- images and indexes

    async def manifest(self, caller: Caller, repository: RepositoryName, digest: Digest) -> Held | None:
        """The record of an original manifest, if there is one and this caller may see it."""
        holder = self._manifests.get((repository, digest))
        for reference in (holder, record_tag(digest)):
            found = await self._read(caller, repository, reference) if reference is not None else None
            if found and isinstance(found.record, ImageRecord | IndexRecord) and found.record.rebuilds(digest):
                return found
        return None

    def remembered_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether a record of the manifest was seen lately."""
        return (repository, digest) in self._manifests

    async def put_manifest(
        self, caller: Caller, repository: RepositoryName, record: ImageRecord | IndexRecord, reference: Reference | None
    ) -> dict[str, str]:
        """Stores the record under its own tag and what the client said; returns the upstream's headers."""
        if isinstance(record, ImageRecord):
            rewrap = partial(self._seal.rewrap, repository)
            record = replace(record, layers=tuple(layer.rewrapped(rewrap) for layer in record.layers))
        await self._put_original(caller, repository, record)
        data = await self._offload.io(self._seal.sign, repository, record.to_manifest())
        headers = await self._put(caller, repository, record_tag(record.digest), data, record)
        if isinstance(reference, Digest) and reference != record.digest:
            reference = record_tag(reference)  # by its sha512
        if isinstance(reference, Tag):
            headers = await self._put(caller, repository, reference, data, record)
        await self._learn(repository, record, Digest.of(data))
        return dict(headers)

    def forget_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        """Drops what is remembered of a manifest."""
        self._manifests.pop((repository, digest), None)

    async def parse(self, caller: Caller, repository: RepositoryName, manifest: StoredManifest) -> Held | None:
        """The record in a manifest; None when it is something else. Raises `UpstreamBroken` for a forged one."""
        if not is_record(manifest.data):
            return None
        try:
            await self._offload.io(self._seal.verify, repository, manifest.data)
            record = parse_record(manifest.data, await self._read_original(caller, repository, manifest.data))
        except (ReductoError, Untrusted) as error:
            logs.trouble("record-refused", error, repository=str(repository), manifest=str(manifest.digest))
            raise UpstreamBroken(f"record {manifest.digest} is refused: {error}") from error
        await self._learn(repository, record, manifest.digest)
        return Held(record, manifest.digest, len(manifest.data))

    async def check(self, caller: Caller, repository: RepositoryName, data: bytes) -> None:
        """Returns when a record that a client brings would be believed here. Raises `ManifestInvalid`, `Refused`."""
        try:
            await self._offload.io(self._seal.verify, repository, data)
            parse_record(data, await self._read_original(caller, repository, data))
        except ReductoError as error:
            raise ManifestInvalid(f"this record of Reducto's would not be believed in {repository}: {error}") from error

    # -- scanning

    async def scan(self, caller: Caller, repository: RepositoryName) -> None:
        """Reads the repository's records that are not known yet. Does nothing when it was done a moment ago."""
        when, task = self._scans.get(repository, (0.0, None))
        if task is None or (task.done() and time.monotonic() - when > _SCAN_PAUSE_SECONDS):
            task = asyncio.create_task(self._scan(caller, repository))
            self._scans[repository] = (time.monotonic(), task)
        await asyncio.shield(task)

    async def _scan(self, caller: Caller, repository: RepositoryName) -> None:
        gate = asyncio.Semaphore(_SCAN_PARALLEL)

        async def read(tag: str) -> None:
            async with gate:
                with contextlib.suppress(Refused, ReductoError, OSError):
                    await self._read_deep(caller, repository, Tag(tag))
                    self._seen.add((repository, tag))

        try:
            tags = [tag async for tag in self._client.tags(caller, repository)]
        except (Refused, ReductoError, OSError, ValueError):
            return  # without the right to list, what cannot be found is not used
        unseen = [tag for tag in tags if (repository, tag) not in self._seen]
        await asyncio.gather(*(read(tag) for tag in unseen[-_SCAN_TAGS:]))

    async def _read_deep(self, caller: Caller, repository: RepositoryName, reference: Tag | Digest) -> None:
        """Reads a record, and the records that an index record names."""
        found = await self._read(caller, repository, reference)
        if found is not None and isinstance(found.record, IndexRecord):
            for child in found.record.children:
                await self._read_deep(caller, repository, child.digest)

    # -- inside

    async def _read(self, caller: Caller, repository: RepositoryName, reference: Tag | Digest) -> Held | None:
        found = await self._client.get_manifest(caller, repository, reference)
        return await self.parse(caller, repository, found) if found is not None else None

    async def _learn(self, repository: RepositoryName, record: Record, holder: Digest) -> None:
        if isinstance(record, IndexRecord):
            remember(self._manifests, (repository, record.digest), holder, _MEMORY_ENTRIES)
            return
        layers = (record,) if isinstance(record, LayerRecord) else record.layers
        for layer in layers:
            known = self._layers.get((repository, layer.digest))
            if known is None or isinstance(record, LayerRecord):
                remember(self._layers, (repository, layer.digest), HeldLayer(layer, holder), _MEMORY_ENTRIES)
                self._plain.pop((repository, layer.digest), None)
            await self._offload.io(self._relatives.learn, repository, layer)  # an index on disk, or on a server
        if isinstance(record, ImageRecord):
            remember(self._manifests, (repository, record.digest), holder, _MEMORY_ENTRIES)
            for blob in record.stored:
                self.note_plain(repository, blob.digest)

    async def _put(
        self, caller: Caller, repository: RepositoryName, tag: Tag, data: bytes, record: Record
    ) -> CIMultiDict[str]:
        """Stores a record's manifest; once more when the config was cleaned away meanwhile."""
        remembered = repository in self._configured
        await self._ensure_config(caller, repository)
        try:
            return await self._client.put_manifest(caller, repository, tag, data, record_media_type(record))
        except Refused as refusal:
            if not remembered or refusal.status not in (400, 404):
                raise
            self._configured.discard(repository)
            await self._ensure_config(caller, repository)
            return await self._client.put_manifest(caller, repository, tag, data, record_media_type(record))

    async def _put_original(
        self, caller: Caller, repository: RepositoryName, record: ImageRecord | IndexRecord
    ) -> None:
        """Stores an original that is too large for its record, and what leads there."""
        packed = await self._offload.io(originals.pack, record.original)
        if packed is None:
            return
        await self._client.put_blob(caller, repository, packed[0].digest, packed[1])
        if isinstance(record, IndexRecord) and (carrier := await self._offload.io(record.carrier)) is not None:
            await self._ensure_config(caller, repository)
            await self._client.put_manifest(caller, repository, carrier[0].digest, carrier[1], OCI_MANIFEST)

    async def _read_original(self, caller: Caller, repository: RepositoryName, record: bytes) -> bytes | None:
        """What `_put_original` stored; None when the record has its original inside. Raises `UpstreamBroken`."""
        pointer = original_pointer(record)
        if pointer is not None and pointer.media_type == OCI_MANIFEST:
            carrier = await self._client.get_manifest(caller, repository, pointer.digest)
            pointer = original_pointer(carrier.data) if carrier is not None else None
            if pointer is None:
                raise UpstreamBroken("the manifest that leads to a record's original is gone")
        if pointer is None:
            return None
        packed = await self._client.read_blob(caller, repository, pointer, originals.ORIGINAL_LIMIT_BYTES)
        return await self._offload.io(originals.unpack, packed)

    async def _ensure_config(self, caller: Caller, repository: RepositoryName) -> None:
        """The blob that records name as their config."""
        if repository in self._configured:
            return
        if not await self._client.has_blob(caller, repository, CONFIG_DESCRIPTOR.digest):
            await self._client.put_blob(caller, repository, CONFIG_DESCRIPTOR.digest, CONFIG)
        self._configured.add(repository)
