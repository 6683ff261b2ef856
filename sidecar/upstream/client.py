"""Typed operations on an upstream, each carried out with its caller's own rights.

A refusal (401, 403, 429, 5xx ...) raises `Refused`, which keeps the upstream's words so that the client gets
exactly these; "not there" is a value.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from multidict import CIMultiDict

from reducto.errors import ReductoError
from reducto.files import open_new
from reducto.oci.errors import Unavailable, UpstreamBroken
from reducto.oci.manifest import ACCEPTED
from reducto.oci.names import Reference, RepositoryName
from reducto.values import ByteRange, Descriptor, Digest
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import (
    Caller,
    FileBody,
    Upstream,
    UpstreamCut,
    UpstreamRequest,
    UpstreamResponse,
)

MANIFEST_LIMIT_BYTES = 8 << 20
_ERROR_LIMIT_BYTES = 1 << 20
_LISTING_LIMIT_BYTES = 64 << 20
_BLOB_ATTEMPTS = 4
_ABANDON_SECONDS = 3.0
#: A slow link brings a large blob in short pieces, and to have each written costs more than to receive it. Behind the
#: first bytes, which somebody may wait for, a rest after a short piece makes the next one longer.
_FIRST_BYTES, _SHORT_BYTES, _REST_SECONDS = 64 << 10, 16 << 10, 0.004
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


class Refused(Exception):
    """The upstream said no, in these words."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        super().__init__(f"the upstream answered {status}: {body[:300].decode(errors='replace')}")
        self.status = status
        self.headers = headers
        self.body = body


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as the upstream has it."""

    data: bytes
    media_type: str
    digest: Digest
    headers: CIMultiDict[str]

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.data))


class DownloadProgress(Protocol):
    """Told how much of a blob's file is there while it is being saved."""

    async def advance(self, length: int) -> None:
        """The first ``length`` bytes are there. Returns when more are welcome."""


class RegistryClient:
    """Typed operations on the registry as a whole. Stateless; one per process."""

    def __init__(self, upstream: Upstream, offload: Offload, metrics: Metrics) -> None:
        self.upstream = upstream
        self.offload = offload
        self.metrics = metrics

    def repository(self, caller: Caller, name: RepositoryName) -> RepositoryClient:
        """One repository, with this caller's rights."""
        return RepositoryClient(self, caller, name)

    async def repositories(self, caller: Caller) -> AsyncIterator[str]:
        """All repositories of the registry."""
        async for page in self.pages(caller, "/v2/_catalog?n=1000"):
            for name in page.get("repositories") or ():
                yield name

    async def pages(self, caller: Caller, target: str) -> AsyncIterator[dict[str, Any]]:
        """The JSON documents of a listing, following its Link headers; nothing when it is not there."""
        seen: set[str] = set()
        while target not in seen:
            seen.add(target)
            async with await self.upstream.send(UpstreamRequest("GET", target, caller)) as answer:
                if answer.status == 404:
                    return
                if answer.status != 200:
                    raise await _refusal(answer)
                document = await read_json(answer, _LISTING_LIMIT_BYTES)
                following = next_page(answer, target)
            yield document
            if following is None:
                return
            target = following


class RepositoryClient:
    """One repository with one caller's rights: a repository is bound to its caller once, where a request enters."""

    def __init__(self, registry: RegistryClient, caller: Caller, name: RepositoryName) -> None:
        self.registry = registry
        self.caller = caller
        self.name = name

    def __str__(self) -> str:
        return self.name.name

    # -- manifests

    async def manifest(self, reference: Reference, accept: tuple[str, ...] = ACCEPTED) -> StoredManifest | None:
        """The manifest, or None; asked for again where a connection broke.

        Its bytes are checked against the digest that was asked for, or that the upstream states of a tag.
        """
        for attempt in range(_BLOB_ATTEMPTS):
            try:
                return await self._manifest(reference, accept)
            except UpstreamCut as error:
                if attempt == _BLOB_ATTEMPTS - 1:
                    raise Unavailable(f"the upstream breaks off when asked for manifest {reference}") from error
            await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    async def _manifest(self, reference: Reference, accept: tuple[str, ...]) -> StoredManifest | None:
        request = UpstreamRequest(
            "GET",
            f"/v2/{self.name}/manifests/{reference}",
            self.caller,
            CIMultiDict(("Accept", kind) for kind in accept),
        )
        async with await self.registry.upstream.send(request) as answer:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise await _refusal(answer)
            data = await answer.read(MANIFEST_LIMIT_BYTES)
            digest = Digest.of(data, reference.algorithm if isinstance(reference, Digest) else "sha256")
            stated = answer.headers.get("Docker-Content-Digest", "")
            expected = str(reference) if isinstance(reference, Digest) else stated
            if expected.startswith(f"{digest.algorithm}:") and expected != str(digest):
                raise UpstreamBroken(
                    f"the upstream returned {digest} for the manifest {reference}, which is {expected}"
                )
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
            return StoredManifest(data, media_type, digest, answer.headers)

    async def shows(self, reference: Reference) -> bool:
        """Whether this caller sees the manifest just now. False when it is gone; `Refused` when it is forbidden."""
        headers = CIMultiDict(("Accept", kind) for kind in ACCEPTED)
        request = UpstreamRequest("HEAD", f"/v2/{self.name}/manifests/{reference}", self.caller, headers)
        async with await self.registry.upstream.send(request) as answer:
            if answer.status in (200, 404):
                return answer.status == 200
            raise await _refusal(answer)

    async def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> CIMultiDict[str]:
        """Stores a manifest and returns the answer's headers."""
        target = f"/v2/{self.name}/manifests/{reference}"
        request = UpstreamRequest("PUT", target, self.caller, {"Content-Type": media_type}, data)
        async with await self.registry.upstream.send(request) as answer:
            if answer.status not in (200, 201, 202):
                raise await _refusal(answer)
            return answer.headers

    async def delete_manifest(self, reference: Reference) -> bool:
        """Deletes a manifest, or only a tag; False when it was not there."""
        return await self._delete(f"/v2/{self.name}/manifests/{reference}")

    # -- blobs

    async def has_blob(self, digest: Digest) -> bool:
        """Whether the repository holds the blob as it is."""
        request = UpstreamRequest("HEAD", f"/v2/{self.name}/blobs/{digest}", self.caller)
        async with await self.registry.upstream.send(request) as answer:
            if answer.status in (200, 404):
                return answer.status == 200
            raise await _refusal(answer)

    async def read_blob(self, blob: Descriptor, limit_bytes: int) -> bytes:
        """A small blob, its digest checked."""
        out = bytearray()
        async for piece in self.blob_pieces(blob):
            out += piece
            if len(out) > limit_bytes:
                raise UpstreamBroken(f"blob {blob.digest} is longer than {limit_bytes} bytes")
        if await self.registry.offload.io(Digest.of, bytes(out), blob.digest.algorithm) != blob.digest:
            raise UpstreamBroken(f"the upstream returned wrong bytes for blob {blob.digest}")
        return bytes(out)

    async def save_blob(self, blob: Descriptor, path: Path, progress: DownloadProgress | None = None) -> None:
        """A blob into a new file, its digest checked; taken up again where a connection broke.

        With ``progress`` the file has its full length at once, and others read what has arrived.
        """
        hasher = blob.digest.hasher()
        handle = await self.registry.offload.io(open_new, path)
        try:

            def take(piece: bytes) -> int:
                handle.write(piece)
                handle.flush()
                hasher.update(piece)
                return handle.tell()

            if progress is not None:
                await self.registry.offload.io(handle.truncate, blob.size)
                await progress.advance(0)
            async for piece in self.blob_pieces(blob):
                length = await self.registry.offload.io(take, piece)
                if progress is not None:
                    await progress.advance(length)
                if len(piece) < _SHORT_BYTES and _FIRST_BYTES < length < blob.size:
                    await asyncio.sleep(_REST_SECONDS)
        finally:
            handle.close()  # here: cancelled once more, a worker might never come to it; all is flushed
        if hasher.hexdigest() != blob.digest.hex:
            await self.registry.offload.io(os.unlink, path)
            raise UpstreamBroken(f"the upstream returned wrong bytes for blob {blob.digest}")

    async def blob_pieces(self, blob: Descriptor) -> AsyncIterator[bytes]:
        done = 0
        for attempt in range(_BLOB_ATTEMPTS):
            headers = {"Range": f"bytes={done}-"} if done else {}
            request = UpstreamRequest("GET", f"/v2/{self.name}/blobs/{blob.digest}", self.caller, headers)
            async with await self.registry.upstream.send(request) as answer:
                if answer.status not in (200, 206):
                    raise await _refusal(answer)
                skip = done if answer.status == 200 else 0  # a registry may ignore ranges
                try:
                    async for piece in answer.pieces():
                        if skip >= len(piece):
                            skip -= len(piece)
                            continue
                        piece, skip = piece[skip:], 0
                        done += len(piece)
                        self.registry.metrics.upstream_bytes.labels(direction="in").inc(len(piece))
                        yield piece
                    if done >= blob.size:
                        return
                except UpstreamCut:
                    if attempt == _BLOB_ATTEMPTS - 1:
                        raise
            await asyncio.sleep(0.1 * 2**attempt)
        raise UpstreamCut(f"blob {blob.digest} ended after {done} of {blob.size} bytes")

    async def put_blob(
        self,
        digest: Digest,
        content: bytes | Path,
        location: str | None = None,
    ) -> int:
        """Stores a blob; through the open upload ``location`` when there is one. Returns its length in bytes."""
        length = len(content) if isinstance(content, bytes) else (await self.registry.offload.io(content.stat)).st_size
        body = content if isinstance(content, bytes) else FileBody(content, ByteRange(0, length))
        for attempt in range(_BLOB_ATTEMPTS):
            where = location
            try:
                where = where or await self.open_upload()
                await self._put_whole(where, digest, body, length)
                return length
            except (Refused, Unavailable) as error:
                if where is not None:
                    await self.abandon_upload(where)
                if not _may_work_again(error, attempt, fresh=location is None):
                    raise
            location = None
            await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    async def _put_whole(self, location: str, digest: Digest, body: bytes | FileBody, length: int) -> None:
        joined = f"{location}{'&' if '?' in location else '?'}digest={quote(str(digest), safe='')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        async with await self.registry.upstream.send(
            UpstreamRequest("PUT", joined, self.caller, headers, body)
        ) as answer:
            if answer.status not in (201, 204):
                raise await _refusal(answer)
        self.registry.metrics.upstream_bytes.labels(direction="out").inc(length)

    async def open_upload(self) -> str:
        """The Location of a new upload session."""
        request = UpstreamRequest("POST", f"/v2/{self.name}/blobs/uploads/", self.caller, body=b"")
        async with await self.registry.upstream.send(request) as answer:
            location = answer.headers.get("Location")
            if answer.status != 202 or not location:
                raise await _refusal(answer)
            return location

    async def cancel_upload(self, location: str) -> None:
        """Gives an upload session up. A registry that does not know how cleans up by itself later."""
        async with await self.registry.upstream.send(UpstreamRequest("DELETE", location, self.caller)):
            pass

    async def abandon_upload(self, location: str) -> None:
        """`cancel_upload` after something else went wrong: tries briefly, never raises for the upstream."""
        with contextlib.suppress(ReductoError, OSError, TimeoutError):
            async with asyncio.timeout(_ABANDON_SECONDS):
                await self.cancel_upload(location)

    async def mount_blob(self, digest: Digest, source: RepositoryName) -> str | None:
        """Mounts a blob from ``source``. None when that worked, else the Location of the session opened instead."""
        query = urlencode({"mount": str(digest), "from": source.name})
        request = UpstreamRequest("POST", f"/v2/{self.name}/blobs/uploads/?{query}", self.caller, body=b"")
        async with await self.registry.upstream.send(request) as answer:
            if answer.status == 201:
                return None
            location = answer.headers.get("Location")
            if answer.status != 202 or not location:
                raise await _refusal(answer)
            return location

    async def delete_blob(self, digest: Digest) -> bool:
        """Deletes a blob; False when it was not there."""
        return await self._delete(f"/v2/{self.name}/blobs/{digest}")

    # -- listings

    async def tags(self) -> AsyncIterator[str]:
        """All tags, records included, page by page."""
        async for page in self.registry.pages(self.caller, f"/v2/{self.name}/tags/list?n=1000"):
            for tag in page.get("tags") or ():
                yield tag

    async def _delete(self, target: str) -> bool:
        async with await self.registry.upstream.send(UpstreamRequest("DELETE", target, self.caller)) as answer:
            if answer.status in (200, 202, 204, 404):
                return answer.status != 404
            refusal = await _refusal(answer)
            if refusal.status == 400 and b"NAME_UNKNOWN" in refusal.body:  # zot, for a repository that is not there
                return False
            raise refusal


def next_page(answer: UpstreamResponse, target: str) -> str | None:
    """Where a listing goes on: the target of its Link header, or None at the end."""
    found = _NEXT.search(answer.headers.get("Link", ""))
    if found is None:
        return None
    return found[1] if found[1].startswith(("/", "http")) else target.partition("?")[0] + found[1]


def _may_work_again(error: Refused | Unavailable, attempt: int, *, fresh: bool) -> bool:
    """Whether a blob is worth another try with a new session: the old one may have expired, a gateway have failed."""
    if isinstance(error, Unavailable):
        return attempt == 0  # each try may have waited for a time-out
    return attempt < _BLOB_ATTEMPTS - 1 and (not fresh or error.status in (404, 416, 500, 502, 503, 504))


async def read_json(answer: UpstreamResponse, limit_bytes: int) -> dict[str, Any]:
    """The JSON object in a successful answer. Raises `UpstreamBroken` for anything else."""
    try:
        document = json.loads(await answer.read(limit_bytes))
    except (ValueError, RecursionError) as error:
        raise UpstreamBroken("the upstream's listing is not JSON") from error
    if not isinstance(document, dict):
        raise UpstreamBroken("the upstream's listing is not a JSON object")
    return document


async def _refusal(answer: UpstreamResponse) -> Refused:
    return Refused(answer.status, answer.headers, await answer.read(_ERROR_LIMIT_BYTES))
