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
from typing import Any, TypeVar

from multidict import CIMultiDict

from reducto.errors import ReductoError
from reducto.oci.client import RegistryClient, RepositoryClient, StoredManifest
from reducto.oci.manifest import ACCEPTED, OCI_MANIFEST
from reducto.oci.names import Reference, RepositoryName, Tag
from reducto.oci.registry_errors import ManifestInvalid, Refused, Unavailable, UpstreamBroken
from reducto.oci.transport import Caller
from reducto.values import Digest
from sidecar.records import overflow
from sidecar.records.format import (
    CONFIG,
    CONFIG_DESCRIPTOR,
    ImageRecord,
    IndexRecord,
    LayerRecord,
    Record,
    is_record,
    overflow_of,
    parse_record,
    record_media_type,
)
from sidecar.records.locks import ReadWriteLocks
from sidecar.records.memory import RecordMemory, ShownMemory, StoredRecord
from sidecar.records.protection import Protector
from sidecar.records.scanner import RecordScanner
from sidecar.records.tags import record_tag
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload

#: Called on a worker with every layer record that was read or written, so that the hook index learns its corpora.
Learn = Callable[[RepositoryName, LayerRecord], None]

T = TypeVar("T")
#: A manifest of this length is parsed in about half a millisecond.
_SHORT_BYTES = 32 << 10


class Repositories:
    """Binds repositories to callers, and holds what all bindings share. One per process."""

    def __init__(self, registry: RegistryClient, protector: Protector, learn: Learn, offload: Offload) -> None:
        self.registry = registry
        self.protector = protector
        self.learn = learn
        self.offload = offload
        self.memory = RecordMemory()
        self.shown = ShownMemory()
        self.scanner = RecordScanner()
        self.locks = ReadWriteLocks()
        self.config_locks = ReadWriteLocks()
        """Held while a repository's config blob is stored."""
        self.configured: set[RepositoryName] = set()
        """Repositories that are known to hold the config blob of all records."""

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

    # -- what the upstream shows to this caller

    @property
    def is_reader(self) -> bool:
        """Whether the upstream has shown this caller anything of the repository within the last 60 seconds.

        Only then may hints shorten the way of an answer: a stranger's requests always go the same way, whatever is
        known of the repository, so that neither answers nor times tell him what it holds.
        """
        return self._shared.shown.knows(self.caller, self.name)

    async def manifest(self, reference: Reference, accept: tuple[str, ...] = ACCEPTED) -> StoredManifest | None:
        found = await super().manifest(reference, accept)
        if found is not None:
            self._shared.shown.note(self.caller, self.name)
        return found

    async def shows(self, reference: Reference) -> bool:
        shown = await super().shows(reference)
        if shown:
            self._shared.shown.note(self.caller, self.name)
        return shown

    async def shows_blob(self, digest: Digest) -> bool:
        """Whether the upstream shows this caller the blob: asked at most once in 60 seconds. Raises `Refused`."""
        shown = self._shared.shown
        if not shown.knows(self.caller, self.name, digest):
            if not await self.has_blob(digest):
                return False
            shown.note(self.caller, self.name, digest)
            shown.note(self.caller, self.name)
        return True

    def writing(self) -> AbstractAsyncContextManager[None]:
        """The lock under which clients' manifests are stored. Many tasks can hold it at once, but not with
        `rewriting`."""
        return self._shared.locks.shared(self.name)

    def rewriting(self) -> AbstractAsyncContextManager[None]:
        """The lock under which changed records replace others. One task holds it alone, so its steps must be short."""
        return self._shared.locks.exclusive(self.name)

    async def scan(self) -> None:
        """Reads the records that are not known yet; does nothing if that was done less than 20 seconds ago."""
        await self._shared.scanner.scan(self)

    # -- layers

    async def layer(self, digest: Digest, *, authorised: bool = False) -> LayerRecord | None:
        """The layer's record, if this caller may see it; else None.

        With ``authorised`` a remembered record is returned at once, because a later request of the same call shows
        whether the caller may see it.
        """
        known = self.memory.layer(digest) if self.is_reader else None
        if known is not None:
            if authorised or await self.shows(known.manifest_digest):
                return known.layer
            self.memory.forget_layer(digest)
        found = await self.record(record_tag(digest))
        if found is None or not isinstance(found.record, LayerRecord) or found.record.digest != digest:
            return None
        return found.record

    async def find_layer(self, digest: Digest) -> LayerRecord | None:
        """The layer's record for a pull. Raises `Unavailable` when the upstream fails.

        None also when the upstream refuses this caller: the client then gets the upstream's answer to its own request.
        """
        try:
            return None if self.stored_verbatim(digest) else await self.layer(digest)
        except Refused as refusal:
            if refusal.status >= 500:
                raise Unavailable(f"the upstream answers {refusal.status}") from refusal
            return None

    def stored_verbatim(self, digest: Digest) -> bool:
        """Whether the blob is known to be stored as it came, by a hint that this caller may have the benefit of."""
        return self.is_reader and self.memory.is_verbatim(digest)

    async def search_layer(self, digest: Digest) -> LayerRecord | None:
        """The layer's record, as by `find_layer`, or from an image record.

        A layer has no record of its own if another tool copied its image here by the image's tag alone.
        """
        self.memory.forget_verbatim(digest)
        layer = await self.find_layer(digest)
        if layer is None:
            await self.scan()
            if self.memory.layer(digest) is not None:
                layer = await self.find_layer(digest)
        return layer

    async def put_layer(self, layer: LayerRecord) -> Digest:
        """Stores a layer's record and returns the digest of its manifest. All blobs that it names must be stored."""
        protector = self._shared.protector
        layer = layer.rewrapped(partial(protector.rewrap, self.name))
        data = await self._shared.offload.io(protector.sign, self.name, layer.to_manifest())
        await self._put(record_tag(layer.digest), data, layer)
        digest = Digest.of(data)
        self.memory.unmark_broken(layer.digest)
        await self._learn(layer, digest)
        return digest

    async def has_all(self, layer: LayerRecord) -> bool:
        """Whether the repository holds every blob that the layer's rebuild needs. Raises `Refused`."""
        return all(await asyncio.gather(*(self.has_blob(blob.digest) for blob in layer.needed_blobs)))

    # -- images and indexes

    async def manifest_record(self, digest: Digest) -> StoredRecord | None:
        """The record that stands for the manifest ``digest``; None if there is none or this caller may not see it."""
        found = await self.any_record(digest)
        return None if found is None or isinstance(found.record, LayerRecord) else found

    async def any_record(self, digest: Digest) -> StoredRecord | None:
        """The record that stands for a manifest or a layer; None if there is none or this caller may not see it."""
        hint = self.memory.manifest(digest) if self.is_reader else None
        for reference in (hint, record_tag(digest)):
            found = await self.record(reference) if reference is not None else None
            if found and found.record.rebuilds(digest):
                return found
        return None

    async def put_record(self, record: ImageRecord | IndexRecord, reference: Reference | None) -> dict[str, str]:
        """Stores the record under its record tag and under the client's reference. Returns the upstream's headers."""
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
        """The record that a tag or digest names; None when it names no manifest, or a manifest that is no record."""
        found = await self.manifest(reference)
        return await self.parse_record(found) if found is not None else None

    async def is_record(self, data: bytes) -> bool:
        """Whether the bytes are a record, in any version of the format."""
        return await self._off_loop(is_record, data)

    async def parse_record(self, manifest: StoredManifest) -> StoredRecord | None:
        """The record in a manifest; None when the manifest is no record. Raises `UpstreamBroken` for a forged one."""
        if not await self.is_record(manifest.data):
            return None
        try:
            record = await self._verified(manifest.data)
        except Refused:
            raise
        except ReductoError as error:
            logs.trouble("record-refused", error, repository=str(self), manifest=str(manifest.digest))
            raise UpstreamBroken(f"record {manifest.digest} is refused: {error}") from error
        await self._learn(record, manifest.digest)
        return StoredRecord(record, manifest.digest, len(manifest.data))

    async def check_record(self, data: bytes) -> None:
        """Checks a record that a client pushes as a manifest. Raises `ManifestInvalid` for one that would be refused on
        a pull, and `Refused`."""
        try:
            await self._verified(data)
        except Refused:
            raise
        except ReductoError as error:
            raise ManifestInvalid(f"this Reducto record cannot be trusted in {self}: {error}") from error

    # -- inside

    async def _verified(self, data: bytes) -> Record:
        """The record, after its signature was checked if keys are configured. Raises `Untrusted`, `NotReducto`,
        `Corrupt`."""
        await self._shared.offload.io(self._shared.protector.verify, self.name, data)
        return await self._off_loop(parse_record, data, await self._read_overflow(data))

    async def _off_loop(self, parse: Callable[..., T], data: bytes, *more: Any) -> T:
        """``parse(data, *more)``, on a worker if the data are long: parsing them would hold up the event loop."""
        if len(data) < _SHORT_BYTES:
            return parse(data, *more)
        return await self._shared.offload.io(parse, data, *more)

    async def _learn(self, record: Record, manifest_digest: Digest) -> None:
        for layer in self.memory.note(record, manifest_digest):
            # This runs on a worker, because the hook index lies on disk or on another server.
            await self._shared.offload.io(self._shared.learn, self.name, layer)

    async def _put(self, tag: Tag, data: bytes, record: Record) -> CIMultiDict[str]:
        """Stores a record's manifest; a second time if the registry has removed the config blob since it was seen."""
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
        """Stores the overflow blob of a record whose original is too large, and for an index the overflow manifest."""
        packed = await self._shared.offload.io(overflow.pack, record.original)
        if packed is None:
            return
        await self.put_blob(packed[0].digest, packed[1])
        if isinstance(record, IndexRecord):
            manifest = await self._shared.offload.io(record.overflow_manifest)
            if manifest is not None:
                await self._ensure_config()
                await self.put_manifest(manifest[0].digest, manifest[1], OCI_MANIFEST)

    async def _read_overflow(self, record: bytes) -> bytes | None:
        """The original that `_put_overflow` stored; None when the record has it inside. Raises `UpstreamBroken`."""
        blob = await self._off_loop(overflow_of, record)
        if blob is not None and blob.media_type == OCI_MANIFEST:
            manifest = await self.manifest(blob.digest)
            blob = await self._off_loop(overflow_of, manifest.data) if manifest is not None else None
            if blob is None:
                raise UpstreamBroken("the overflow manifest of a record is gone")
        if blob is None:
            return None
        packed = await self.read_blob(blob, overflow.ORIGINAL_LIMIT_BYTES)
        return await self._shared.offload.io(overflow.unpack, packed)

    async def _ensure_config(self) -> None:
        """Stores the config blob that all records name, if the repository does not hold it.

        One task at a time: docker-registry writes a blob's link anew at each upload, and refuses a manifest that it
        verifies while the link is empty.
        """
        if self.name in self._shared.configured:
            return
        async with self._shared.config_locks.exclusive(self.name):
            if self.name in self._shared.configured:
                return
            if not await self.has_blob(CONFIG_DESCRIPTOR.digest):
                await self.put_blob(CONFIG_DESCRIPTOR.digest, CONFIG)
            self._shared.configured.add(self.name)
