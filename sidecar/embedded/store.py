"""A complete registry on a local directory, so that `reducto serve` needs no other registry.

This module answers requests of the registry API; `sidecar.embedded.image_layout` stores the files.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from multidict import CIMultiDict

from reducto.errors import UsageError
from reducto.oci import routes
from reducto.oci.manifest import OCI_INDEX, Manifest
from reducto.oci.names import Tag
from reducto.oci.ranges import parse_range
from reducto.oci.registry_errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    RegistryError,
    StorageFull,
    TagInvalid,
    Unsupported,
    is_full,
)
from reducto.oci.transport import (
    FileBody,
    RegistryRequest,
    RegistryResponse,
    StreamBody,
    body_pieces,
)
from reducto.values import ByteRange, Descriptor, Digest
from sidecar.embedded.image_layout import ImageLayout
from sidecar.embedded.upload_sessions import EmbeddedUploads
from sidecar.runtime.offload import Offload

#: The largest manifest that the store takes.
MANIFEST_LIMIT_BYTES = 4 << 20


class EmbeddedUpstream:
    """A registry in this process. Made on a disk worker; `close` drops its unfinished uploads."""

    def __init__(self, root: Path, offload: Offload) -> None:
        self.layout = ImageLayout(root)
        self._offload = offload
        self._uploads = EmbeddedUploads(self.layout, offload)

    async def send(self, request: RegistryRequest) -> RegistryResponse:
        """The answer to a request; a refusal is one, too. Raises `OSError`, except for a full disk (status 507)."""
        parts = urlsplit(request.target)
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        route = routes.parse(unquote(parts.path))
        try:
            answer = await self._dispatch(route, request, query)
        except RegistryError as error:
            answer = _refused(error)
        except OSError as error:
            if not is_full(error):
                raise
            answer = _refused(StorageFull("the store's disk is full"))
        answer.method, answer.url = request.method, request.target
        answer.headers.setdefault("Docker-Distribution-API-Version", "registry/2.0")
        if request.method == "HEAD":
            answer.drop_body()
        return answer

    async def ping(self) -> None:
        """Returns when the store's directory can be read. Raises `OSError`."""
        await self._offload.io(self.layout.pool.stat)

    async def close(self) -> None:
        """Drops unfinished uploads."""
        await self._offload.io(self._uploads.close)

    async def _dispatch(self, route: routes.Route, request: RegistryRequest, query: dict[str, str]) -> LocalResponse:
        match route, request.method:
            case routes.Base(), "GET" | "HEAD":
                return BytesResponse(200, b"{}", "application/json")
            case routes.Catalog(), "GET":
                return await self._catalog(query)
            case routes.Tags(), "GET":
                return await self._tags(route, query)
            case routes.ManifestAt(), "GET" | "HEAD":
                return await self._get_manifest(route)
            case routes.ManifestAt(), "PUT":
                return await self._put_manifest(route, request, query)
            case routes.ManifestAt(), "DELETE":
                return await self._delete_manifest(route)
            case routes.BlobAt(), "GET" | "HEAD":
                return await self._get_blob(route, request)
            case routes.BlobAt(), "DELETE":
                return await self._delete_blob(route)
            case routes.Referrers(), "GET":
                return await self._referrers(route, query)
            case ((routes.Uploads() | routes.UploadAt()), _):
                status, headers = await self._uploads.handle(route, request, query)
                return BytesResponse(status, b"", None, **headers)
            case routes.Other(), _:
                raise _complaint(route, reading=request.method in ("GET", "HEAD"))
        raise Unsupported(f"{request.method} is not defined for {route.path}")

    # -- reading

    async def _catalog(self, query: dict[str, str]) -> LocalResponse:
        names = await self._offload.io(self.layout.repositories)
        page, link = paged(names, query, "/v2/_catalog")
        return BytesResponse(200, _json({"repositories": page}), "application/json", **link)

    async def _tags(self, route: routes.Tags, query: dict[str, str]) -> LocalResponse:
        if not await self._offload.io(self.layout.exists, route.repository):
            raise NameUnknown(f"no repository {route.repository}", detail={"name": str(route.repository)})
        tags = await self._offload.io(self.layout.tags, route.repository)
        page, link = paged(tags, query, route.path)
        document = {"name": str(route.repository), "tags": page}
        return BytesResponse(200, _json(document), "application/json", **link)

    async def _get_manifest(self, route: routes.ManifestAt) -> LocalResponse:
        found = await self._offload.io(self.layout.resolve, route.repository, route.reference)
        path = await self._offload.io(self.layout.blob, route.repository, found.digest) if found else None
        if found is None or path is None:
            raise ManifestUnknown(f"no manifest {route.reference} in {route.repository}")
        data = await self._offload.io(path.read_bytes)
        return BytesResponse(200, data, found.media_type, **_named(found.digest))

    async def _get_blob(self, route: routes.BlobAt, request: RegistryRequest) -> LocalResponse:
        path = await self._offload.io(self.layout.blob, route.repository, route.digest)
        if path is None:
            raise BlobUnknown(f"no blob {route.digest} in {route.repository}", detail={"digest": str(route.digest)})
        length = (await self._offload.io(path.stat)).st_size
        wanted = parse_range(request.headers.get("Range"), length) if request.method == "GET" else None
        headers = {**_named(route.digest), "Accept-Ranges": "bytes"}
        if wanted is None:
            return FileResponse(200, FileBody(path, ByteRange(0, length)), self._offload, headers)
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{length}"
        return FileResponse(206, FileBody(path, wanted), self._offload, headers)

    async def _referrers(self, route: routes.Referrers, query: dict[str, str]) -> LocalResponse:
        found = await self._offload.io(self.layout.referrers, route.repository, route.digest)
        headers = {}
        if kind := query.get("artifactType"):
            found = [item for item in found if item.get("artifactType") == kind]
            headers["OCI-Filters-Applied"] = "artifactType"
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return BytesResponse(200, _json(document), OCI_INDEX, **headers)

    # -- changing

    async def _put_manifest(
        self, route: routes.ManifestAt, request: RegistryRequest, query: dict[str, str]
    ) -> LocalResponse:
        data = await _whole(request, MANIFEST_LIMIT_BYTES)
        digest = _digest_for(route, query, data)
        manifest = Manifest.parse(data, request.headers.get("Content-Type", ""))
        for blob in manifest.blobs:
            if not blob.foreign and await self._offload.io(self.layout.blob, route.repository, blob.digest) is None:
                raise ManifestBlobUnknown(f"the manifest names {blob.digest}, which {route.repository} does not hold")
        descriptor = Descriptor(manifest.media_type, digest, len(data))
        tag = route.reference if isinstance(route.reference, Tag) else None
        await self._offload.io(
            self.layout.put_manifest,
            route.repository,
            descriptor,
            data,
            tag,
            manifest.subject,
            manifest.as_referrer(descriptor),
        )
        headers = {"Location": f"/v2/{route.repository}/manifests/{digest}", **_named(digest)}
        if manifest.subject is not None:
            headers["OCI-Subject"] = str(manifest.subject)
        return BytesResponse(201, b"", None, **headers)

    async def _delete_manifest(self, route: routes.ManifestAt) -> LocalResponse:
        remove = self.layout.delete_tag if isinstance(route.reference, Tag) else self.layout.delete_manifest
        if not await self._offload.io(remove, route.repository, route.reference):
            raise ManifestUnknown(f"no manifest {route.reference} in {route.repository}")
        return BytesResponse(202, b"", None)

    async def _delete_blob(self, route: routes.BlobAt) -> LocalResponse:
        if not await self._offload.io(self.layout.delete_blob, route.repository, route.digest):
            raise BlobUnknown(f"no blob {route.digest} in {route.repository}")
        return BytesResponse(202, b"", None)


class LocalResponse(RegistryResponse):
    """An answer of the embedded store."""

    def drop_body(self) -> None:
        """Removes the body and keeps the headers, for the answer to HEAD."""


class BytesResponse(LocalResponse):
    """An answer whose body is in memory."""

    def __init__(self, status: int, body: bytes, content_type: str | None, **headers: str) -> None:
        fields = CIMultiDict({"Content-Length": str(len(body)), **headers})
        if content_type:
            fields["Content-Type"] = content_type
        super().__init__(status, fields)
        self._body = body

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, at most one piece."""
        if self._body:
            yield self._body

    def drop_body(self) -> None:
        self._body = b""


class FileResponse(LocalResponse):
    """An answer whose body is a range of a blob's file."""

    def __init__(self, status: int, file: FileBody, offload: Offload, headers: dict[str, str]) -> None:
        length = str(len(file.range))
        super().__init__(
            status,
            CIMultiDict({"Content-Length": length, "Content-Type": "application/octet-stream", **headers}),
        )
        self.file = file
        self._offload = offload

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes of the range; none after `drop_body`."""
        if self.file is None:
            return
        async for piece in body_pieces(self.file, self._offload):
            yield piece

    def drop_body(self) -> None:
        self.file = None


def paged(names: list[str], query: dict[str, str], path: str) -> tuple[list[str], dict[str, str]]:
    """The page that the parameters ``n`` and ``last`` ask for, and the Link header of the next page (RFC 8288)."""
    last, count = query.get("last"), query.get("n")
    if last is not None:
        names = [name for name in names if name > last]
    if count is None:
        return names, {}
    if not count.isdecimal():
        raise TagInvalid("n must be a number")
    page = names[: int(count)]
    if len(page) == len(names) or not page:
        return page, {}
    return page, {"Link": f'<{path}?{urlencode({"n": count, "last": page[-1]})}>; rel="next"'}


def _digest_for(route: routes.ManifestAt, query: dict[str, str], data: bytes) -> Digest:
    named = route.reference if isinstance(route.reference, Digest) else None
    if named is None and "digest" in query:
        try:
            named = Digest.parse(query["digest"])
        except UsageError as error:
            raise DigestInvalid(str(error)) from error
    actual = Digest.of(data, named.algorithm if named else "sha256")
    if named is not None and named != actual:
        raise DigestInvalid(f"the manifest's digest is {actual}, not {named}")
    return actual


async def _whole(request: RegistryRequest, limit_bytes: int) -> bytes:
    body = request.body
    if isinstance(body, bytes):
        return body
    if not isinstance(body, StreamBody):
        raise ManifestInvalid("the request has no body; send the manifest as its body")
    out = bytearray()
    async for piece in body.pieces:
        out += piece
        if len(out) > limit_bytes:
            raise ManifestTooLarge(f"the manifest is larger than the limit of {limit_bytes} bytes")
    return bytes(out)


def _refused(error: RegistryError) -> BytesResponse:
    body = error.to_body()
    assert isinstance(body, bytes)
    return BytesResponse(error.status, body, "application/json", **error.headers)


def _complaint(route: routes.Other, *, reading: bool) -> RegistryError:
    if not route.complaint:
        return NameUnknown(f"there is nothing at {route.path[:200]}")
    if "digest" in route.complaint:
        return DigestInvalid(route.complaint)
    if "tag" in route.complaint:
        return ManifestUnknown(route.complaint) if reading else TagInvalid(route.complaint)
    return NameInvalid(route.complaint)


def _named(digest: Digest) -> dict[str, str]:
    return {"Docker-Content-Digest": str(digest), "ETag": f'"{digest}"'}


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()
