"""Manifests: records where blobs were reduced, untouched where not. Clients see only originals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from aiohttp import web
from multidict import CIMultiDict

from reducto.config import Policy
from reducto.errors import ReductoError
from reducto.oci import routes
from reducto.oci.errors import (
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    TagInvalid,
    Unsupported,
)
from reducto.oci.manifest import Manifest
from reducto.oci.names import Reference, RepositoryName, Tag
from reducto.values import Descriptor, Digest
from sidecar.api.exchange import Call, relay
from sidecar.api.passthrough import Passthrough
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord, is_record, record_media_type
from sidecar.records.store import Held, RecordStore
from sidecar.records.tags import is_record_tag, record_tag
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import Caller, UpstreamRequest
from sidecar.upstream.client import Refused, RegistryClient

#: What one manifest may name: each may cost a question to the upstream.
NAMED_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Original:
    """A manifest as its pusher sent it."""

    data: bytes
    media_type: str
    digest: Digest


class Manifests:
    """Answers everything under ``/v2/<name>/manifests/``."""

    def __init__(
        self,
        passthrough: Passthrough,
        client: RegistryClient,
        records: RecordStore,
        policy: Policy,
        limit_bytes: int,
        offload: Offload,
    ) -> None:
        self._passthrough = passthrough
        self._client = client
        self._records = records
        self._policy = policy
        self._limit_bytes = limit_bytes
        self._offload = offload

    # -- GET, HEAD

    async def get(self, call: Call) -> web.StreamResponse:
        """The manifest that was pushed: out of its record, or as the upstream has it."""
        route = call.route
        assert isinstance(route, routes.ManifestAt)
        if isinstance(route.reference, Tag) and is_record_tag(route.reference):
            raise ManifestUnknown(f"no manifest {route.reference} in {route.repository}")
        try:
            original = await self.find_record(call.caller, route.repository, route.reference)
        except Refused as refusal:
            if refusal.status >= 500 or refusal.status == 429:
                raise
            original = None  # the upstream's own answer to the client's own request is the right one
        if original is None:
            return await self._passthrough(call)
        return _answer(call, original)

    async def find_record(self, caller: Caller, repository: RepositoryName, reference: Reference) -> Original | None:
        """The original of a manifest that is stored as a record; None when it is not. Raises `ManifestUnknown` for a
        record's own digest."""
        if isinstance(reference, Tag):
            held = await self._held(caller, repository, reference)
            return await self._fresh(caller, repository, held) if held else None
        if self._records.remembered_manifest(repository, reference):
            held = await self._records.manifest(caller, repository, reference)
            if held is not None:
                return _original(held)
        found = await self._client.get_manifest(caller, repository, reference)
        if found is not None:
            if await self._records.parse(caller, repository, found) is not None:
                raise ManifestUnknown(f"no manifest {reference} in {repository}")
            return None
        held = await self._records.manifest(caller, repository, reference)
        if held is None:
            await self._records.scan(caller, repository)
            if self._records.remembered_manifest(repository, reference):
                held = await self._records.manifest(caller, repository, reference)
        return _original(held) if held is not None else None

    async def _held(self, caller: Caller, repository: RepositoryName, tag: Tag) -> Held | None:
        found = await self._client.get_manifest(caller, repository, tag)
        return await self._records.parse(caller, repository, found) if found is not None else None

    async def _fresh(self, caller: Caller, repository: RepositoryName, held: Held) -> Original:
        if isinstance(held.record, LayerRecord):
            raise ManifestUnknown(f"no manifest in {repository}")
        return _original(held)

    # -- PUT

    async def put(self, call: Call) -> web.StreamResponse:
        """Stores the manifest as a record when anything it names was reduced, else as it came."""
        route = call.route
        assert isinstance(route, routes.ManifestAt)
        if isinstance(route.reference, Tag) and is_record_tag(route.reference):
            raise TagInvalid("tags that begin with reducto- are reserved")
        data = await self._read(call)
        if is_record(data):  # somebody copies images as they are stored
            await self._records.check(call.caller, route.repository, data)
        async with self._records.turns.shared(route.repository):
            return await self._put(call, route, data)

    async def _put(self, call: Call, route: routes.ManifestAt, data: bytes) -> web.StreamResponse:
        record = await self._record_for(call, route, data)
        if record is None:
            return await self._put_plain(call, data)
        if isinstance(route.reference, Digest) and Digest.of(data, route.reference.algorithm) != route.reference:
            raise DigestInvalid(f"the manifest is not {route.reference}")
        if self._policy is Policy.ATTACH:
            return await self._attach(call, route, data, record)
        headers = await self._records.put_manifest(call.caller, route.repository, record, route.reference)
        digest = route.reference if isinstance(route.reference, Digest) else record.digest
        kept = {key: value for key, value in headers.items() if key.lower() in ("oci-subject", "oci-filters-applied")}
        answer = {
            "Location": f"/v2/{route.repository}/manifests/{digest}",
            "Docker-Content-Digest": str(digest),
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
        return web.Response(status=201, headers={**answer, **kept})

    async def _read(self, call: Call) -> bytes:
        data = bytearray()
        async for piece in call.body().pieces:
            data += piece
            if len(data) > self._limit_bytes:
                raise ManifestTooLarge(f"a manifest has at most {self._limit_bytes} bytes")
        return bytes(data)

    async def _put_plain(self, call: Call, data: bytes) -> web.StreamResponse:
        request = replace(call.upstream_request(body=False), body=data)
        async with await self._passthrough.upstream.send(request) as answer:
            return await relay(call, answer, self._passthrough.base, self._offload)

    async def _attach(
        self, call: Call, route: routes.ManifestAt, data: bytes, record: ImageRecord | IndexRecord
    ) -> web.StreamResponse:
        """The original for everybody, the record beside it for the edge."""
        response = await self._put_plain(call, data)
        if response.status < 300:
            try:
                await self._records.put_manifest(call.caller, route.repository, record, None)
            except (Refused, ReductoError) as error:
                logs.trouble("record-not-attached", error, repository=str(route.repository))
        return response

    async def _record_for(self, call: Call, route: routes.ManifestAt, data: bytes) -> ImageRecord | IndexRecord | None:
        """The record to store, or None when nothing of the manifest is reduced (or it is none of ours to read)."""
        try:
            manifest = Manifest.parse(data, call.headers.get("Content-Type", ""))
        except ManifestInvalid:
            return None
        if len(manifest.blobs) + len(manifest.children) > NAMED_LIMIT:
            raise ManifestTooLarge(f"a manifest names at most {NAMED_LIMIT} blobs or manifests")
        return await self.build_record(call.caller, route.repository, manifest, data)

    async def build_record(
        self, caller: Caller, repository: RepositoryName, manifest: Manifest, data: bytes
    ) -> ImageRecord | IndexRecord | None:
        """The record of a manifest; None when nothing that it names is reduced."""
        subject = manifest.subject_descriptor
        if manifest.is_index:
            children = await asyncio.gather(*(self._child(caller, repository, child) for child in manifest.children))
            if list(children) == list(manifest.children):
                return None
            return IndexRecord(data, manifest.media_type, tuple(children), subject)
        blobs = [blob for blob in manifest.blobs if not blob.foreign]
        layers = await asyncio.gather(*(self._layer(caller, repository, blob.digest) for blob in blobs))
        reduced = {layer.digest: layer for layer in layers if layer is not None}
        if not reduced:
            return None
        stored = tuple(blob.descriptor for blob in blobs if blob.digest not in reduced)
        return ImageRecord(data, manifest.media_type, tuple(reduced.values()), stored, subject)

    async def _layer(self, caller: Caller, repository: RepositoryName, digest: Digest) -> LayerRecord | None:
        if self._records.is_plain(repository, digest):
            return None
        return await self._records.layer(caller, repository, digest, authorised=True)

    async def _child(self, caller: Caller, repository: RepositoryName, child: Descriptor) -> Descriptor:
        """What stands in the upstream for a child of an index: its record, or the child itself."""
        held = await self._records.manifest(caller, repository, child.digest)
        if held is None:
            return child
        media_type = record_media_type(held.record)
        return Descriptor(media_type, held.holder, held.length)

    # -- DELETE

    async def delete(self, call: Call) -> web.StreamResponse:
        """Deletes a manifest with its record, or a tag."""
        route = call.route
        assert isinstance(route, routes.ManifestAt)
        if isinstance(route.reference, Tag) and is_record_tag(route.reference):
            raise ManifestUnknown(f"no manifest {route.reference} in {route.repository}")
        async with self._records.turns.shared(route.repository):
            if isinstance(route.reference, Tag):
                return await self._passthrough(call)
            return await self._delete(call, route.repository, route.reference)

    async def _delete(self, call: Call, repository: RepositoryName, digest: Digest) -> web.StreamResponse:
        try:
            held = await self._records.manifest(call.caller, repository, digest)
        except Refused:
            held = None
        if held is None:
            return await self._passthrough(call)
        target = f"/v2/{repository}/manifests/{held.holder}"
        async with await self._passthrough.upstream.send(UpstreamRequest("DELETE", target, call.caller)) as answer:
            if answer.status < 300:
                self._records.forget_manifest(repository, digest)
                if self._policy is Policy.ATTACH:
                    await self._client.delete_manifest(call.caller, repository, digest)
            return await relay(call, answer, self._passthrough.base, self._offload)

    async def delete_layer(self, call: Call) -> web.StreamResponse:
        """Deletes a blob. Of a reduced one the record goes; what it named is then the registry's garbage."""
        route = call.route
        assert isinstance(route, routes.BlobAt)
        try:
            layer = await self._records.layer(call.caller, route.repository, route.digest)
        except Refused:
            layer = None
        if layer is None:
            self._records.forget_layer(route.repository, route.digest)
            return await self._passthrough(call)
        found = await self._client.get_manifest(call.caller, route.repository, record_tag(route.digest))
        if found is None:  # known only from an image's record, which must stay whole
            raise Unsupported("the blob is part of an image; delete that")
        target = f"/v2/{route.repository}/manifests/{found.digest}"
        async with await self._passthrough.upstream.send(UpstreamRequest("DELETE", target, call.caller)) as answer:
            if answer.status < 300:
                self._records.forget_layer(route.repository, route.digest)
                if self._policy is Policy.ATTACH:
                    await self._client.delete_blob(call.caller, route.repository, route.digest)
            return await relay(call, answer, self._passthrough.base, self._offload)


def _original(held: Held) -> Original:
    assert isinstance(held.record, ImageRecord | IndexRecord)
    return Original(held.record.original, held.record.media_type, held.record.digest)


def _answer(call: Call, original: Original) -> web.Response:
    route = call.route
    assert isinstance(route, routes.ManifestAt)
    digest = route.reference if isinstance(route.reference, Digest) else original.digest
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
