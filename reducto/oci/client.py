"""Typed operations on a registry, each carried out with its caller's own rights.

A refusal (401, 403, 429, 5xx ...) raises `Refused`, which keeps the registry's words so that a client gets exactly
these; "not there" is a value.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote, urlencode

from multidict import CIMultiDict

from reducto.errors import ReductoError
from reducto.files import open_new
from reducto.oci.manifest import ACCEPTED
from reducto.oci.names import Reference, RepositoryName
from reducto.oci.registry_errors import Refused, Unavailable, UpstreamBroken, WrongContent
from reducto.oci.retry import Attempt, Attempts, RetryPolicy
from reducto.oci.transport import (
    Caller,
    ConnectionCut,
    DiskWorkers,
    FileBody,
    RegistryRequest,
    RegistryResponse,
    TransferObserver,
    Transport,
)
from reducto.values import ByteRange, Descriptor, Digest

MANIFEST_LIMIT_BYTES = 8 << 20
_ERROR_LIMIT_BYTES = 1 << 20
_LISTING_LIMIT_BYTES = 64 << 20
_RETRIES = RetryPolicy(4, 0.1)
_ABANDON_SECONDS = 3.0
#: A slow link brings a large blob in short pieces, and to have each written costs more than to receive it. Behind the
#: first bytes, which somebody may wait for, a rest after a short piece makes the next one longer.
_FIRST_BYTES, _SHORT_BYTES, _REST_SECONDS = 64 << 10, 16 << 10, 0.004


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as the registry has it."""

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

    def __init__(self, transport: Transport, workers: DiskWorkers, observer: TransferObserver | None = None) -> None:
        self.transport = transport
        self.workers = workers
        self.observer = observer or TransferObserver()

    def repository(self, caller: Caller, name: RepositoryName) -> RepositoryClient:
        """One repository, with this caller's rights."""
        return RepositoryClient(self, caller, name)

    async def repositories(self, caller: Caller) -> AsyncIterator[str]:
        """All repositories of the registry."""
        async for page in self.pages(caller, "/v2/_catalog?n=1000"):
            for name in page.get("repositories") or ():
                yield name

    async def pages(self, caller: Caller, target: str) -> AsyncIterator[dict[str, Any]]:
        """The JSON documents of a listing, following its Link fields; nothing when it is not there."""
        seen: set[str] = set()
        following: str | None = target
        while following is not None and following not in seen:
            seen.add(following)
            async with await self.transport.send(RegistryRequest("GET", following, caller)) as answer:
                if answer.status == 404:
                    return
                if answer.status != 200:
                    raise await refusal_of(answer)
                document = await read_json(answer, _LISTING_LIMIT_BYTES)
                following = answer.next_page
            yield document


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

        Its bytes are checked against the digest that was asked for, or that the registry states of a tag. Raises
        `WrongContent` when they differ.
        """
        async for attempt in Attempts(_RETRIES):
            try:
                return await self._manifest(reference, accept)
            except ConnectionCut as error:
                if attempt.last:
                    raise Unavailable(f"the registry breaks off when asked for manifest {reference}") from error
        raise AssertionError("unreachable")

    async def _manifest(self, reference: Reference, accept: tuple[str, ...]) -> StoredManifest | None:
        async with await self._send("GET", f"manifests/{reference}", {"Accept": ", ".join(accept)}) as answer:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise await refusal_of(answer)
            data = await answer.read(MANIFEST_LIMIT_BYTES)
            digest = Digest.of(data, reference.algorithm if isinstance(reference, Digest) else "sha256")
            stated = answer.headers.get("Docker-Content-Digest", "")
            expected = str(reference) if isinstance(reference, Digest) else stated
            if expected.startswith(f"{digest.algorithm}:") and expected != str(digest):
                raise WrongContent(f"the registry sent {digest} for the manifest {reference}, which is {expected}")
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
            return StoredManifest(data, media_type, digest, answer.headers)

    async def shows(self, reference: Reference) -> bool:
        """Whether this caller sees the manifest just now. False when it is gone; `Refused` when it is forbidden."""
        return await self._exists(f"manifests/{reference}", {"Accept": ", ".join(ACCEPTED)})

    async def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> CIMultiDict[str]:
        """Stores a manifest and returns the answer's headers."""
        async with await self._send("PUT", f"manifests/{reference}", {"Content-Type": media_type}, data) as answer:
            if answer.status not in (200, 201, 202):
                raise await refusal_of(answer)
            return answer.headers

    async def delete_manifest(self, reference: Reference) -> bool:
        """Deletes a manifest, or only a tag; False when it was not there."""
        return await self._delete(f"manifests/{reference}")

    # -- blobs

    async def has_blob(self, digest: Digest) -> bool:
        """Whether the repository holds the blob as it is."""
        return await self._exists(f"blobs/{digest}", {})

    async def read_blob(self, blob: Descriptor, limit_bytes: int) -> bytes:
        """A small blob, its digest checked. Raises `WrongContent`, `UpstreamBroken` above the limit."""
        if blob.size > limit_bytes:
            raise UpstreamBroken(f"blob {blob.digest} is longer than {limit_bytes} bytes")
        out = bytearray()
        async for piece in self.blob_pieces(blob):
            out += piece
        if await self.registry.workers.io(Digest.of, bytes(out), blob.digest.algorithm) != blob.digest:
            raise _wrong(blob, len(out))
        return bytes(out)

    async def save_blob(self, blob: Descriptor, path: Path, progress: DownloadProgress | None = None) -> None:
        """A blob into a new file, as `copy_blob`.

        With ``progress`` the file has its full length at once, and others read what has arrived.
        """
        handle = await self.registry.workers.io(open_new, path)
        try:
            if progress is not None:
                await self.registry.workers.io(handle.truncate, blob.size)
            await self.copy_blob(blob, handle, progress)
        except WrongContent:
            await self.registry.workers.io(os.unlink, path)
            raise
        finally:
            handle.close()  # here: cancelled once more, a worker might never come to it; all is flushed

    async def copy_blob(self, blob: Descriptor, file: BinaryIO, progress: DownloadProgress | None = None) -> None:
        """A blob into an open file, from its start on, taken up again where a connection broke.

        Raises `WrongContent` when length or digest differ: what was written is then good for nothing.
        """
        hasher, length = blob.digest.hasher(), 0
        take = _writer(file, hasher.update)
        if progress is not None:
            await progress.advance(0)
        async for piece in self.blob_pieces(blob):
            await self.registry.workers.io(take, piece)
            length += len(piece)
            if progress is not None:
                await progress.advance(length)
            if len(piece) < _SHORT_BYTES and _FIRST_BYTES < length < blob.size:
                await asyncio.sleep(_REST_SECONDS)
        if hasher.hexdigest() != blob.digest.hex:
            raise _wrong(blob, length)

    async def blob_pieces(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """A blob's bytes as they arrive, asked for again from where a connection broke. Their digest is not checked.

        Raises `ConnectionCut` when they end too early, `WrongContent` when there are more than the blob has.
        """
        done = 0
        async for attempt in Attempts(_RETRIES):
            headers = {"Range": f"bytes={done}-"} if done else {}
            async with await self._send("GET", f"blobs/{blob.digest}", headers) as answer:
                if answer.status not in (200, 206):
                    raise await refusal_of(answer)
                skip = done if answer.status == 200 else 0  # a registry may ignore ranges
                try:
                    async for piece in answer.pieces():
                        if skip >= len(piece):
                            skip -= len(piece)
                            continue
                        piece, skip = piece[skip:], 0
                        done += len(piece)
                        if done > blob.size:
                            raise _wrong(blob, done)
                        self.registry.observer.received(len(piece))
                        yield piece
                    if done >= blob.size:
                        return
                except ConnectionCut:
                    if attempt.last:
                        raise
        raise ConnectionCut(f"blob {blob.digest} ended after {done} of {blob.size} bytes")

    # -- uploads

    async def put_blob(self, digest: Digest, content: bytes | Path, location: str | None = None) -> int:
        """Stores a blob; through the open upload ``location`` when there is one. Returns its length in bytes."""
        length = len(content) if isinstance(content, bytes) else (await self.registry.workers.io(content.stat)).st_size
        body = content if isinstance(content, bytes) else FileBody(content, ByteRange(0, length))
        async for attempt in Attempts(_RETRIES):
            where = location
            try:
                where = where or await self.open_upload()
                await self._put_whole(where, digest, body, length)
                return length
            except (Refused, Unavailable) as error:
                if where is not None:
                    await self.abandon_upload(where)
                if attempt.last or not _may_work_again(error, attempt, fresh=location is None):
                    raise
            location = None
        raise AssertionError("unreachable")

    async def _put_whole(self, location: str, digest: Digest, body: bytes | FileBody, length: int) -> None:
        joined = f"{location}{'&' if '?' in location else '?'}digest={quote(str(digest), safe='')}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        async with await self._send("PUT", joined, headers, body) as answer:
            if answer.status not in (201, 204):
                raise await refusal_of(answer)
        self.registry.observer.sent(length)

    async def open_upload(self) -> str:
        """The Location of a new upload session."""
        async with await self._send("POST", "blobs/uploads/", {}, b"") as answer:
            if answer.status != 202 or not answer.location:
                raise await refusal_of(answer)
            return answer.location

    async def cancel_upload(self, location: str) -> None:
        """Gives an upload session up. A registry that does not know how cleans up by itself later."""
        async with await self._send("DELETE", location, {}):
            pass

    async def abandon_upload(self, location: str) -> None:
        """`cancel_upload` after something else went wrong: tries briefly, never raises for the registry."""
        with contextlib.suppress(ReductoError, OSError, TimeoutError):
            async with asyncio.timeout(_ABANDON_SECONDS):
                await self.cancel_upload(location)

    async def mount_blob(self, digest: Digest, source: RepositoryName) -> str | None:
        """Mounts a blob from ``source``. None when that worked, else the Location of the session opened instead."""
        query = urlencode({"mount": str(digest), "from": source.name})
        async with await self._send("POST", f"blobs/uploads/?{query}", {}, b"") as answer:
            if answer.status == 201:
                return None
            if answer.status != 202 or not answer.location:
                raise await refusal_of(answer)
            return answer.location

    async def delete_blob(self, digest: Digest) -> bool:
        """Deletes a blob; False when it was not there."""
        return await self._delete(f"blobs/{digest}")

    # -- listings

    async def tags(self) -> AsyncIterator[str]:
        """All tags, records included, page by page."""
        async for page in self.registry.pages(self.caller, f"/v2/{self.name}/tags/list?n=1000"):
            for tag in page.get("tags") or ():
                yield tag

    # -- one exchange

    async def _send(
        self, method: str, target: str, headers: dict[str, str], body: bytes | FileBody | None = None
    ) -> RegistryResponse:
        """The answer to a request for something in this repository, or for a Location that the registry gave out."""
        if not target.startswith(("/", "http://", "https://")):
            target = f"/v2/{self.name}/{target}"
        return await self.registry.transport.send(RegistryRequest(method, target, self.caller, headers, body))

    async def _exists(self, target: str, headers: dict[str, str]) -> bool:
        async with await self._send("HEAD", target, headers) as answer:
            if answer.status in (200, 404):
                return answer.status == 200
            raise await refusal_of(answer)

    async def _delete(self, target: str) -> bool:
        async with await self._send("DELETE", target, {}) as answer:
            if answer.status in (200, 202, 204, 404):
                return answer.status != 404
            refusal = await refusal_of(answer)
            if refusal.status == 400 and b"NAME_UNKNOWN" in refusal.body:  # zot, for a repository that is not there
                return False
            raise refusal


def _writer(file: BinaryIO, hash_more: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def take(piece: bytes) -> None:
        file.write(piece)
        file.flush()
        hash_more(piece)

    return take


def _may_work_again(error: Refused | Unavailable, attempt: Attempt, *, fresh: bool) -> bool:
    """Whether a blob is worth another try with a new session: the old one may have expired, a gateway have failed."""
    if isinstance(error, Unavailable):
        return attempt.number == 0  # each try may have waited for a time-out
    return not fresh or error.status in (404, 416, 500, 502, 503, 504)


def _wrong(blob: Descriptor, length: int) -> WrongContent:
    return WrongContent(f"blob {blob.digest} arrived with other content or length ({length} of {blob.size} bytes)")


async def read_json(answer: RegistryResponse, limit_bytes: int) -> dict[str, Any]:
    """The JSON object in a successful answer. Raises `UpstreamBroken` for anything else."""
    try:
        document = json.loads(await answer.read(limit_bytes))
    except (ValueError, RecursionError) as error:
        raise UpstreamBroken("the registry's listing is not JSON") from error
    if not isinstance(document, dict):
        raise UpstreamBroken("the registry's listing is not a JSON object")
    return document


async def refusal_of(answer: RegistryResponse) -> Refused:
    """The refusal in an answer."""
    return Refused(answer.status, answer.headers, await answer.read(_ERROR_LIMIT_BYTES), answer.asked)
