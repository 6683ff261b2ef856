"""One repository as one caller sees it: its blobs and manifests, and the records in them.

A handler gets a `Repository` that is bound to its caller once (`Repositories.bind`), and everything that it does there
is done with that caller's rights. Records that were read once are remembered for all callers, but a remembered record
is used for a caller only after the upstream has shown that very caller the manifest that holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial

from multidict import CIMultiDict

from reducto.errors import ReductoError, Untrusted
from reducto.oci.errors import ManifestInvalid, Unavailable, UpstreamBroken
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
from sidecar.records.locks import ReadWriteLocks
from sidecar.records.memory import RecordMemory, StoredRecord
from sidecar.records.protection import Protector
from sidecar.records.scanner import RecordScanner
from sidecar.records.tags import record_tag
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import Caller
from sidecar.upstream.client import Refused, RegistryClient, RepositoryClient, StoredManifest

#: Told of every layer record that was read or written, on a worker: the hook index learns from it.
Learn = Callable[[RepositoryName, LayerRecord], None]


class Repositories:
    """Binds repositories to callers, and holds what all bindings share. One per process."""

    def __init__(self, registry: RegistryClient, protector: Protector, learn: Learn, offload: Offload) -> None:
        self.registry = registry
        self.protector = protector
        self.learn = learn
        self.offload = offload
        self.memory = RecordMemory()
        self.scanner = RecordScanner()
        self.locks = ReadWriteLocks()
        self.configured: set[RepositoryName] = set()
        """Repositories that hold the blob which records name as their config."""

    def bind(self, caller: Caller, name: RepositoryName) -> Repository:
        """The repository with this caller's rights."""
        return Repository(self, caller, name)


class Repository(RepositoryClient):
    """Blobs, manifests and records of one repository, with one caller's rights."""

    def __init__(self, shared: Repositories, caller: Caller, name: RepositoryName) -> None:
        super().__init__(shared.registry, caller, name)
        self._shared = shared
        self.memory = shared.memory.of(name)

    def bind(self, name: RepositoryName) -> Repository:
        """Another repository with the same caller's rights."""
        return self._shared.bind(self.caller, name)

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Held by whoever stores manifests that a client sent, together with others who do."""
        return self._shared.locks.shared(self.name)

    def rewriting(self) -> AbstractAsyncContextManager[None]:
        """Held alone, by whoever puts changed records in place of others. For short steps."""
        return self._shared.locks.exclusive(self.name)

    async def scan(self) -> None:
        """Reads the records that are not known yet; does nothing if that was done a moment ago."""
        await self._shared.scanner.scan(self)

    # -- layers

    async def layer(self, digest: Digest, *, authorised: bool = False) -> LayerRecord | None:
        """The layer's record, if this caller may see it; with ``authorised`` a later request to the upstream tells."""
        known = self.memory.layer(digest)
        if known is not None:
            if authorised or await self.shows(known.manifest_digest):
                return known.layer
            self.memory.forget_layer(digest)
        found = await self.record(record_tag(digest))
        if found is None or not isinstance(found.record, LayerRecord) or found.record.digest != digest:
            return None
        return found.record

    async def find_layer(self, digest: Digest) -> LayerRecord | None:
        """The layer's record for a pull; None also where the upstream refuses this caller, because then its answer to
        the client's own request is the right one. Raises `Unavailable` when the upstream fails."""
        try:
            return None if self.memory.is_verbatim(digest) else await self.layer(digest)
        except Refused as refusal:
            if refusal.status >= 500:
                raise Unavailable(f"the upstream answers {refusal.status}") from refusal
            return None

    async def search_layer(self, digest: Digest) -> LayerRecord | None:
        """As `find_layer`, and if the layer has no record of its own, in the image records that another tool may have
        copied here."""
        self.memory.forget_verbatim(digest)
        layer = await self.find_layer(digest)
        if layer is None:
            await self.scan()
            if self.memory.layer(digest) is not None:
                layer = await self.find_layer(digest)
        return layer

    async def put_layer(self, layer: LayerRecord) -> Digest:
        """Stores a layer's record; every blob that it names must be there. Returns its manifest's digest."""
        protector = self._shared.protector
        layer = layer.rewrapped(partial(protector.rewrap, self.name))
        data = await self._shared.offload.io(protector.sign, self.name, layer.to_manifest())
        await self._put(record_tag(layer.digest), data, layer)
        digest = Digest.of(data)
        self.memory.unmark_broken(layer.digest)
        await self._learn(layer, digest)
        return digest

    async def has_all(self, layer: LayerRecord) -> bool:
        """Whether every blob that the rebuild needs is there. Raises `Refused`."""
        return all(await asyncio.gather(*(self.has_blob(blob.digest) for blob in layer.needed_blobs)))

    # -- images and indexes

    async def manifest_record(self, digest: Digest) -> StoredRecord | None:
        """The record of an original manifest, if there is one and this caller may see it."""
        for reference in (self.memory.manifest(digest), record_tag(digest)):
            found = await self.record(reference) if reference is not None else None
            if found and isinstance(found.record, ImageRecord | IndexRecord) and found.record.rebuilds(digest):
                return found
        return None

    async def put_record(self, record: ImageRecord | IndexRecord, reference: Reference | None) -> dict[str, str]:
        """Stores the record under its own tag and what the client said; returns the upstream's headers."""
        protector = self._shared.protector
        if isinstance(record, ImageRecord):
            rewrap = partial(protector.rewrap, self.name)
            record = replace(record, layers=tuple(layer.rewrapped(rewrap) for layer in record.layers))
        await self._put_overflow(record)
        data = await self._shared.offload.io(protector.sign, self.name, record.to_manifest())
        headers = await self._put(record_tag(record.digest), data, record)
        if isinstance(reference, Digest) and reference != record.digest:
            reference = record_tag(reference)  # The client named the manifest by its sha512.
        if isinstance(reference, Tag):
            headers = await self._put(reference, data, record)
        await self._learn(record, Digest.of(data))
        return dict(headers)

    # -- any record

    async def record(self, reference: Reference) -> StoredRecord | None:
        """The record that a tag or digest names; None when there is nothing, or something else."""
        found = await self.manifest(reference)
        return await self.parse_record(found) if found is not None else None

    async def parse_record(self, manifest: StoredManifest) -> StoredRecord | None:
        """The record in a manifest; None when it is something else. Raises `UpstreamBroken` for a forged one."""
        if not is_record(manifest.data):
            return None
        try:
            record = await self._believe(manifest.data)
        except (ReductoError, Untrusted) as error:
            logs.trouble("record-refused", error, repository=str(self), manifest=str(manifest.digest))
            raise UpstreamBroken(f"record {manifest.digest} is refused: {error}") from error
        await self._learn(record, manifest.digest)
        return StoredRecord(record, manifest.digest, len(manifest.data))

    async def check_record(self, data: bytes) -> None:
        """Returns when a record that a client brings would be believed here. Raises `ManifestInvalid`, `Refused`."""
        try:
            await self._believe(data)
        except ReductoError as error:
            raise ManifestInvalid(f"this record of Reducto's would not be believed in {self}: {error}") from error

    # -- inside

    async def _believe(self, data: bytes) -> Record:
        """The record, its signature checked where keys ask for that. Raises `Untrusted`, `NotReducto`, `Corrupt`."""
        await self._shared.offload.io(self._shared.protector.verify, self.name, data)
        return parse_record(data, await self._read_overflow(data))

    async def _learn(self, record: Record, manifest_digest: Digest) -> None:
        for layer in self.memory.note(record, manifest_digest):
            # On a worker, because the hook index lies on disk or on another server.
            await self._shared.offload.io(self._shared.learn, self.name, layer)

    async def _put(self, tag: Tag, data: bytes, record: Record) -> CIMultiDict[str]:
        """Stores a record's manifest; once more when the config was cleaned away meanwhile."""
        remembered = self.name in self._shared.configured
        await self._ensure_config()
        try:
            return await self.put_manifest(tag, data, record_media_type(record))
        except Refused as refusal:
            if not remembered or refusal.status not in (400, 404):
                raise
            self._shared.configured.discard(self.name)
            await self._ensure_config()
            return await self.put_manifest(tag, data, record_media_type(record))

    async def _put_overflow(self, record: ImageRecord | IndexRecord) -> None:
        """Stores an original that is too large for its record, and for an index the manifest that leads there."""
        packed = await self._shared.offload.io(originals.pack, record.original)
        if packed is None:
            return
        await self.put_blob(packed[0].digest, packed[1])
        if isinstance(record, IndexRecord) and (found := await self._shared.offload.io(record.carrier)) is not None:
            await self._ensure_config()
            await self.put_manifest(found[0].digest, found[1], OCI_MANIFEST)

    async def _read_overflow(self, record: bytes) -> bytes | None:
        """What `_put_overflow` stored; None when the record has its original inside. Raises `UpstreamBroken`."""
        pointer = original_pointer(record)
        if pointer is not None and pointer.media_type == OCI_MANIFEST:
            overflow = await self.manifest(pointer.digest)
            pointer = original_pointer(overflow.data) if overflow is not None else None
            if pointer is None:
                raise UpstreamBroken("the manifest that leads to a record's original is gone")
        if pointer is None:
            return None
        packed = await self.read_blob(pointer, originals.ORIGINAL_LIMIT_BYTES)
        return await self._shared.offload.io(originals.unpack, packed)

    async def _ensure_config(self) -> None:
        """The blob that records name as their config is in the repository."""
        if self.name in self._shared.configured:
            return
        if not await self.has_blob(CONFIG_DESCRIPTOR.digest):
            await self.put_blob(CONFIG_DESCRIPTOR.digest, CONFIG)
        self._shared.configured.add(self.name)
