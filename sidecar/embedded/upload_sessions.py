"""Uploads into the embedded store: at once, in chunks, streamed, resumed or cancelled; and mounts of other blobs."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from reducto.errors import UsageError
from reducto.oci import routes
from reducto.oci.names import RepositoryName
from reducto.oci.ranges import parse_content_range
from reducto.oci.registry_errors import (
    DigestInvalid,
    RangeInvalid,
    SizeInvalid,
    TooManyRequests,
    Unsupported,
    UploadUnknown,
)
from reducto.oci.transport import PIECE_BYTES, Body, RegistryRequest, body_pieces
from reducto.values import Digest
from sidecar.embedded.image_layout import ImageLayout
from sidecar.runtime.offload import Offload
from sidecar.runtime.scratch import ScratchDirectory

#: The most uploads that are open at once.
_SESSION_LIMIT = 4096
Answer = tuple[int, dict[str, str]]


@dataclass(slots=True)
class _Session:
    repository: RepositoryName
    path: Path
    length: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class EmbeddedUploads:
    """The upload sessions of this process. Made on a disk worker."""

    def __init__(self, layout: ImageLayout, offload: Offload) -> None:
        self._layout = layout
        self._offload = offload
        self._folder = ScratchDirectory(layout.root / "_uploads")
        self._sessions: dict[str, _Session] = {}

    def close(self) -> None:
        """Drops unfinished uploads. Blocks: for a disk worker."""
        self._folder.close()

    async def handle(
        self, route: routes.Uploads | routes.UploadAt, request: RegistryRequest, query: dict[str, str]
    ) -> Answer:
        """The status and headers that answer one request. Raises `RegistryError`."""
        if isinstance(route, routes.Uploads):
            if request.method != "POST":
                raise Unsupported(f"{request.method} does not start an upload")
            return await self._start(route.repository, request, query)
        session = self._find(route)
        async with session.lock:
            self._find(route)  # The request that had the lock before may have finished or cancelled the upload.
            match request.method:
                case "GET" | "HEAD":
                    return 204, self._progress(route.session_id, session)
                case "PATCH":
                    await self._append(session, request)
                    return 202, self._progress(route.session_id, session)
                case "PUT":
                    return await self._finish(route.session_id, session, request, query)
                case "DELETE":
                    await self._drop(route.session_id, session)
                    return 204, {}
        raise Unsupported(f"{request.method} is not defined for an upload")

    def _find(self, route: routes.UploadAt) -> _Session:
        session = self._sessions.get(route.session_id)
        if session is None or session.repository != route.repository:
            raise UploadUnknown(f"no upload {route.session_id} in {route.repository}")
        return session

    async def _start(self, repository: RepositoryName, request: RegistryRequest, query: dict[str, str]) -> Answer:
        if "mount" in query and (mounted := await self._mount(repository, query)) is not None:
            return mounted
        if len(self._sessions) >= _SESSION_LIMIT:
            raise TooManyRequests(f"{_SESSION_LIMIT} uploads are open")
        session_id = secrets.token_hex(16)
        session = _Session(repository, self._folder.path / session_id)
        await self._offload.io(session.path.touch)
        self._sessions[session_id] = session
        if "digest" in query:
            return await self._finish(session_id, session, request, query)
        return 202, self._progress(session_id, session)

    async def _mount(self, repository: RepositoryName, query: dict[str, str]) -> Answer | None:
        try:
            digest, source = Digest.parse(query["mount"]), RepositoryName.parse(query.get("from", ""))
        except UsageError:
            return None  # Searching all repositories would reveal what repositories of others hold.
        if not await self._offload.io(self._layout.mount, repository, digest, source):
            return None
        return 201, _created(repository, digest)

    async def _append(self, session: _Session, request: RegistryRequest) -> None:
        stated = request.headers.get("Content-Range")
        if stated is not None:
            chunk = parse_content_range(stated)
            if chunk.start != session.length:
                raise RangeInvalid(f"the chunk begins at byte {chunk.start}, but the next one is {session.length}")
            length = request.headers.get("Content-Length")
            if length is not None and length.isdecimal() and int(length) != len(chunk):
                raise SizeInvalid(f"the range {stated} does not have {length} bytes")
        session.length += await self._write(session, request.body)

    async def _write(self, session: _Session, body: Body | None) -> int:
        handle = await self._offload.io(open, session.path, "r+b")
        written = 0
        try:
            await self._offload.io(handle.seek, session.length)
            async for piece in body_pieces(body, self._offload):
                await self._offload.io(handle.write, piece)
                written += len(piece)
        except BaseException:
            # An incomplete chunk is removed, so that the client can send it again.
            await self._offload.io(handle.truncate, session.length)
            raise
        finally:
            await self._offload.io(handle.close)
        return written

    async def _finish(
        self, session_id: str, session: _Session, request: RegistryRequest, query: dict[str, str]
    ) -> Answer:
        try:
            digest = Digest.parse(query.get("digest", ""))
        except UsageError as error:
            await self._drop(session_id, session)
            raise DigestInvalid(str(error)) from error
        await self._append(session, request)
        if await self._offload.io(_hash_file, session.path, digest) != digest:
            await self._drop(session_id, session)
            raise DigestInvalid(f"the digest of the uploaded bytes is not {digest}")
        await self._offload.io(self._layout.add_blob, session.repository, digest, session.path)
        self._sessions.pop(session_id, None)
        return 201, _created(session.repository, digest)

    async def _drop(self, session_id: str, session: _Session) -> None:
        self._sessions.pop(session_id, None)
        await self._offload.io(session.path.unlink, True)

    @staticmethod
    def _progress(session_id: str, session: _Session) -> dict[str, str]:
        return {
            "Location": f"/v2/{session.repository}/blobs/uploads/{session_id}",
            "Range": f"0-{max(0, session.length - 1)}",
            "Docker-Upload-UUID": session_id,
        }


def _created(repository: RepositoryName, digest: Digest) -> dict[str, str]:
    return {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": str(digest)}


def _hash_file(path: Path, digest: Digest) -> Digest:
    hasher = digest.hasher()
    with open(path, "rb") as source:
        while piece := source.read(PIECE_BYTES):
            hasher.update(piece)
    return Digest(digest.algorithm, hasher.hexdigest())
