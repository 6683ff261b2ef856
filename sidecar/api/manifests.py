"""Manifests. One that names a reduced blob is stored as a record, any other as it came. Clients see originals only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web
from multidict import CIMultiDict

from reducto.config import Policy
from reducto.errors import ReductoError
from reducto.oci.manifest import Manifest, digests_in
from reducto.oci.names import Reference, Tag
from reducto.oci.registry_errors import (
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    Refused,
    TagInvalid,
    Unsupported,
)
from reducto.oci.transport import RegistryRequest
from reducto.values import Descriptor, Digest
from sidecar.api.exchange import Call
from sidecar.api.passthrough import Passthrough
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord, record_media_type
from sidecar.records.memory import StoredRecord
from sidecar.records.repository import Repository
from sidecar.records.tags import is_record_tag, record_tag
from sidecar.runtime import logs

#: The most blobs or manifests that one manifest may name, because each can cost a request to the upstream.
NAMED_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Original:
    """A manifest as a client pushed it."""

    data: bytes
    media_type: str
    digest: Digest


#: Stores the original of a reduced layer in the upstream.
Restore = Callable[[Repository, LayerRecord], Awaitable[None]]


class Manifests:
    """Answers everything under ``/v2/<name>/manifests/``, and DELETE of blobs."""

    def __init__(self, passthrough: Passthrough, restore: Restore, policy: Policy, limit_bytes: int) -> None:
        """``limit_bytes`` is the length of the longest manifest that a client may push."""
        self._passthrough = passthrough
        self._restore = restore
        self._policy = policy
        self._limit_bytes = limit_bytes

    # -- GET, HEAD

    async def get(self, call: Call, repository: Repository, reference: Reference) -> web.StreamResponse:
        """The manifest that was pushed, taken from its record, or as the upstream has it."""
        if isinstance(reference, Tag) and is_record_tag(reference):
            raise ManifestUnknown(f"no manifest {reference} in {repository}")
        try:
            original = await self._find_original(repository, reference)
        except Refused as refusal:
            if refusal.status >= 500 or refusal.status == 429:
                raise
            original = None  # The client gets the upstream's answer to its own request.
        if original is None:
            return await self._passthrough(call)
        return _answer(call, reference, original)

    async def _find_original(self, repository: Repository, reference: Reference) -> Original | None:
        """The original manifest, if it is stored as a record; else None.

        Raises `ManifestUnknown` for the digest of a record's own manifest, because clients must not see records.
        """
        if isinstance(reference, Tag):
            found = await repository.record(reference)
            return _original(repository, found) if found else None
        if repository.is_reader and repository.memory.manifest(reference) is not None:
            found = await repository.manifest_record(reference)
            if found is not None:
                return _original(repository, found)
        stored = await repository.manifest(reference)
        if stored is not None:
            if await repository.parse_record(stored) is not None:
                raise ManifestUnknown(f"no manifest {reference} in {repository}")
            return None
        found = await repository.manifest_record(reference)
        if found is None:
            await repository.scan()
            if repository.memory.manifest(reference) is not None:
                found = await repository.manifest_record(reference)
        return _original(repository, found) if found is not None else None

    # -- PUT

    async def put(self, call: Call, repository: Repository, reference: Reference) -> web.StreamResponse:
        """Stores the manifest: as a record if anything that it names was reduced, else as it came."""
        if isinstance(reference, Tag) and is_record_tag(reference):
            raise TagInvalid("tags that begin with reducto- are reserved")
        data = await self._read(call)
        if not await self._may_read(repository, reference):
            return await self._put_plain(call, data)
        if await repository.is_record(data):  # A tool that copies images in their stored form pushes records.
            await repository.check_record(data)
        async with repository.writing():
            return await self._put(call, repository, reference, data)

    @staticmethod
    async def _may_read(repository: Repository, reference: Reference) -> bool:
        """Whether the upstream lets this caller read the repository.

        If not, it answers the client's own request itself, before anything is looked up that the repository holds.
        """
        if repository.is_reader:
            return True
        try:
            await repository.shows(reference)
        except Refused as refusal:
            if refusal.status not in (401, 403):
                raise
            return False
        return True

    async def _put(self, call: Call, repository: Repository, reference: Reference, data: bytes) -> web.StreamResponse:
        record = await self._record_for(call, repository, data)
        if record is None:
            return await self._put_plain(call, data)
        if isinstance(reference, Digest) and Digest.of(data, reference.algorithm) != reference:
            raise DigestInvalid(f"the manifest is not {reference}")
        if self._policy is Policy.ATTACH:
            return await self._attach(call, repository, data, record)
        headers = await repository.put_record(record, reference)
        digest = reference if isinstance(reference, Digest) else record.digest
        copied = {key: value for key, value in headers.items() if key.lower() in ("oci-subject", "oci-filters-applied")}
        answer = {
            "Location": f"/v2/{repository}/manifests/{digest}",
            "Docker-Content-Digest": str(digest),
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
        return web.Response(status=201, headers={**answer, **copied})

    async def _read(self, call: Call) -> bytes:
        data = bytearray()
        async for piece in call.body().pieces:
            data += piece
            if len(data) > self._limit_bytes:
                raise ManifestTooLarge(f"a manifest has at most {self._limit_bytes} bytes")
        return bytes(data)

    async def _put_plain(self, call: Call, data: bytes) -> web.StreamResponse:
        request = replace(call.upstream_request(body=False), body=data)
        async with await self._passthrough.send(request) as answer:
            return await self._passthrough.relay(call, answer)

    async def _attach(
        self, call: Call, repository: Repository, data: bytes, record: ImageRecord | IndexRecord
    ) -> web.StreamResponse:
        """Stores the original under the client's reference, and its record under the record tag, for edges."""
        response = await self._put_plain(call, data)
        if response.status < 300:
            try:
                await repository.put_record(record, None)
            except (Refused, ReductoError) as error:
                logs.trouble("record-not-attached", error, repository=str(repository))
        return response

    async def _record_for(self, call: Call, repository: Repository, data: bytes) -> ImageRecord | IndexRecord | None:
        """The record to store; None if nothing that the manifest names is reduced, or if its kind is unknown."""
        try:
            manifest = Manifest.parse(data, call.headers.get("Content-Type", ""))
        except ManifestInvalid:
            # A record cannot stand for a manifest of an unknown kind. The upstream decides whether it accepts it.
            await self._restore_layers(repository, digests_in(data))
            return None
        if len(manifest.blobs) + len(manifest.children) > NAMED_LIMIT:
            raise ManifestTooLarge(f"a manifest names at most {NAMED_LIMIT} blobs or manifests")
        return await build_record(repository, manifest, data, self._restore)

    async def _restore_layers(self, repository: Repository, digests: set[Digest]) -> None:
        """Stores the originals of all reduced layers among these digests."""
        if len(digests) > NAMED_LIMIT:
            raise ManifestTooLarge(f"a manifest names at most {NAMED_LIMIT} blobs or manifests")
        for digest in sorted(digests):
            if repository.stored_verbatim(digest):
                continue
            layer = await repository.layer(digest, authorised=True)
            if layer is not None:
                await self._restore(repository, layer)

    # -- DELETE

    async def delete(self, call: Call, repository: Repository, reference: Reference) -> web.StreamResponse:
        """Deletes a manifest, with its record, or deletes a tag."""
        if isinstance(reference, Tag) and is_record_tag(reference):
            raise ManifestUnknown(f"no manifest {reference} in {repository}")
        async with repository.writing():
            if isinstance(reference, Tag):
                return await self._passthrough(call)
            return await self._delete(call, repository, reference)

    async def _delete(self, call: Call, repository: Repository, digest: Digest) -> web.StreamResponse:
        try:
            found = await repository.manifest_record(digest)
        except Refused:
            found = None
        if found is None:
            return await self._passthrough(call)
        async with await self._passthrough.send(_deletion(repository, found.manifest_digest)) as answer:
            if answer.status < 300:
                repository.memory.forget_manifest(digest)
                if self._policy is Policy.ATTACH:
                    await repository.delete_manifest(digest)
            return await self._passthrough.relay(call, answer)

    async def delete_layer(self, call: Call, repository: Repository, digest: Digest) -> web.StreamResponse:
        """Deletes a blob. For a reduced blob its record is deleted; the registry's garbage collection then removes the
        blobs that the record named."""
        try:
            layer = await repository.layer(digest)
        except Refused:
            layer = None
        if layer is None:
            repository.memory.forget_layer(digest)
            return await self._passthrough(call)
        found = await repository.manifest(record_tag(digest))
        if found is None:  # The layer is known only from an image's record, and that must not lose a layer.
            raise Unsupported("the blob is part of an image; delete the image instead")
        async with await self._passthrough.send(_deletion(repository, found.digest)) as answer:
            if answer.status < 300:
                repository.memory.forget_layer(digest)
                if self._policy is Policy.ATTACH:
                    await repository.delete_blob(digest)
            return await self._passthrough.relay(call, answer)


async def build_record(
    repository: Repository, manifest: Manifest, data: bytes, restore: Restore
) -> ImageRecord | IndexRecord | None:
    """The record of a manifest whose bytes are ``data``; None when nothing that it names is reduced.

    An index may name layers, as older caches of BuildKit do. ``restore`` then stores their originals first.
    """
    subject = manifest.subject_descriptor
    if manifest.is_index:
        children = await asyncio.gather(*(_child(repository, child, restore) for child in manifest.children))
        if list(children) == list(manifest.children):
            return None
        return IndexRecord(data, manifest.media_type, tuple(children), subject)
    blobs = [blob for blob in manifest.blobs if not blob.foreign]
    layers = await asyncio.gather(*(_layer(repository, blob.digest) for blob in blobs))
    reduced = {layer.digest: layer for layer in layers if layer is not None}
    if not reduced:
        return None
    stored = tuple(blob.descriptor for blob in blobs if blob.digest not in reduced)
    return ImageRecord(data, manifest.media_type, tuple(reduced.values()), stored, subject)


async def _layer(repository: Repository, digest: Digest) -> LayerRecord | None:
    if repository.stored_verbatim(digest):
        return None
    return await repository.layer(digest, authorised=True)


async def _child(repository: Repository, child: Descriptor, restore: Restore) -> Descriptor:
    """The manifest in the upstream for a child of an index: the child's record, or the child itself."""
    found = await repository.any_record(child.digest)
    if found is None:
        return child
    if isinstance(found.record, LayerRecord):
        await restore(repository, found.record)
        return child
    return Descriptor(record_media_type(found.record), found.manifest_digest, found.length)


def _deletion(repository: Repository, manifest_digest: Digest) -> RegistryRequest:
    return RegistryRequest("DELETE", f"/v2/{repository}/manifests/{manifest_digest}", repository.caller)


def _original(repository: Repository, found: StoredRecord) -> Original:
    """The original manifest in a record. Raises `ManifestUnknown` for a layer's record, which has none."""
    record = found.record
    if isinstance(record, LayerRecord):
        raise ManifestUnknown(f"no manifest in {repository}")
    return Original(record.original, record.media_type, record.digest)


def _answer(call: Call, reference: Reference, original: Original) -> web.Response:
    digest = reference if isinstance(reference, Digest) else original.digest
    headers = CIMultiDict(
        {
            "Content-Type": original.media_type,
            "Docker-Content-Digest": str(digest),
            "ETag": f'"{digest}"',
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
    )
    if call.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    if call.method == "HEAD":
        headers["Content-Length"] = str(len(original.data))
        return web.Response(status=200, headers=headers)
    return web.Response(status=200, body=original.data, headers=headers)
