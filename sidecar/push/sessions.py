"""Upload sessions: each has a spool file, the running sha256 of its bytes, and an open session in the upstream.

A session belongs to the credential that opened it. A caller with another credential can take it over only if the
upstream lets that credential see its own session (`sidecar.push.blob_uploads`).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reducto.config import LimitOptions, SpoolOptions
from reducto.oci.names import RepositoryName
from reducto.oci.ranges import parse_content_range
from reducto.oci.registry_errors import RangeInvalid, SizeInvalid, StorageFull, TooManyRequests, UploadUnknown, is_full
from reducto.oci.transport import Caller, StreamBody
from reducto.values import Digest
from sidecar.push.encoding import Encoding
from sidecar.records.repository import Repository
from sidecar.runtime.growing_file import READ_BYTES, GrowingFile
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload

#: At most this many pieces of a body are collected for one write, because some clients send a few bytes at a time.
_PIECES = 1024


@dataclass(slots=True, kw_only=True)
class Upload:
    """One blob that is being pushed."""

    session_id: str
    repository: Repository
    """The repository, bound to the caller to whom the session belongs."""
    location: str
    """The upload session that the upstream opened for this caller."""
    spool: GrowingFile
    hasher: Any
    encoding: Encoding | None = field(default=None, init=False)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    last_active: float = field(default_factory=time.monotonic, init=False)

    @property
    def length(self) -> int:
        """The number of bytes received."""
        return self.spool.length

    @property
    def path(self) -> str:
        """The URL path of the session, to which the client sends its next request."""
        return f"/v2/{self.repository}/blobs/uploads/{self.session_id}"

    def belongs_to(self, caller: Caller) -> bool:
        """Whether the caller has the credential to which the session belongs."""
        mine, given = self.repository.caller.authorization or "", caller.authorization or ""
        return hmac.compare_digest(mine.encode(), given.encode())


class UploadSessions:
    """All open upload sessions of this process."""

    def __init__(
        self,
        folder: Path,
        spool: SpoolOptions,
        limits: LimitOptions,
        offload: Offload,
        metrics: Metrics,
        mark: str = "",
    ) -> None:
        """Session ids begin with ``mark``, by which other replicas know that this replica holds the session."""
        self._mark = mark
        self.folder = folder
        self._spool = spool
        self._limits = limits
        self._offload = offload
        self._metrics = metrics
        self._open: dict[str, Upload] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def start(self, repository: Repository, location: str) -> Upload:
        """A new session with an empty spool file. Raises `TooManyRequests`, `StorageFull`."""
        if len(self._open) >= self._limits.upload_sessions:
            raise TooManyRequests(f"{len(self._open)} uploads are open", headers={"Retry-After": "10"})
        if self.spooled_bytes >= self._spool.max_size:
            raise TooManyRequests("the spool is full", headers={"Retry-After": "10"})
        session_id = self._mark + secrets.token_hex(16)
        try:
            spool = await GrowingFile.create(self.folder / f"upload-{session_id}", self._offload)
        except OSError as error:
            raise _disk_trouble(error) from error
        upload = Upload(
            session_id=session_id,
            repository=repository,
            location=location,
            spool=spool,
            hasher=Digest.of(b"").hasher(),
        )
        self._open[session_id] = upload
        self._metrics.uploads_open.set(len(self._open))
        return upload

    def find(self, repository: RepositoryName, session_id: str) -> Upload:
        """The open session with this id in the repository. Raises `UploadUnknown`."""
        upload = self._open.get(session_id)
        if upload is None or upload.repository.name != repository:
            raise UploadUnknown(f"no upload {session_id} in {repository}", detail={"uuid": session_id})
        return upload

    async def receive(self, upload: Upload, body: StreamBody, content_range: str | None) -> None:
        """Appends a body to the spool. If the client breaks off, the bytes that arrived stay, so that it can resume."""
        if content_range is not None:
            self._check_order(upload, content_range, body.length)
        if body.length is not None and upload.length + body.length > self._limits.blob_size:
            raise SizeInvalid(f"a blob has at most {self._limits.blob_size} bytes")
        pending: list[bytes] = []
        length = 0
        try:
            async for piece in body.pieces:
                pending.append(piece)
                length += len(piece)
                if length >= READ_BYTES or len(pending) >= _PIECES:
                    await self._append(upload, pending, length)
                    pending, length = [], 0
        finally:
            if pending:
                await self._append(upload, pending, length)

    async def drop(self, upload: Upload) -> None:
        """Ends the session and removes its files."""
        if self._open.pop(upload.session_id, None) is None:
            return
        self._metrics.uploads_open.set(len(self._open))
        if upload.encoding is not None:
            await upload.encoding.close()
        await upload.spool.remove()
        await upload.spool.release()
        self._metrics.spool_bytes.set(self.spooled_bytes)

    async def expire(self) -> list[Upload]:
        """Drops the sessions that were not used for `LimitOptions.upload_idle` seconds, and returns them.

        The caller must end them in the upstream, too.
        """
        oldest = time.monotonic() - self._limits.upload_idle
        idle = [each for each in self._open.values() if each.last_active < oldest and not each.lock.locked()]
        for upload in idle:
            await self.drop(upload)
        return idle

    def busy(self, within_seconds: float) -> bool:
        """Whether any session was used within the last ``within_seconds``."""
        since = time.monotonic() - within_seconds
        return any(upload.last_active >= since for upload in self._open.values())

    async def close(self) -> None:
        """Drops all sessions."""
        for upload in list(self._open.values()):
            await self.drop(upload)

    @property
    def spooled_bytes(self) -> int:
        """The length of all spool files together, in bytes."""
        return sum(upload.length for upload in self._open.values())

    async def _append(self, upload: Upload, pieces: list[bytes], length: int) -> None:
        if upload.length + length > self._limits.blob_size:
            raise SizeInvalid(f"a blob has at most {self._limits.blob_size} bytes")
        try:
            await self._offload.io(_write, upload, pieces)
        except OSError as error:
            raise _disk_trouble(error) from error
        upload.spool.publish(upload.length + length)
        upload.last_active = time.monotonic()
        self._metrics.spool_bytes.set(self.spooled_bytes)

    @staticmethod
    def _check_order(upload: Upload, content_range: str, length: int | None) -> None:
        chunk = parse_content_range(content_range)
        if chunk.start != upload.length:
            progress = {"Location": upload.path, "Range": f"0-{max(0, upload.length - 1)}"}
            raise RangeInvalid(f"the next byte is {upload.length}, not {chunk.start}", headers=progress)
        if length is not None and length != len(chunk):
            raise SizeInvalid(f"{content_range} does not have {length} bytes")


def _write(upload: Upload, pieces: list[bytes]) -> None:
    upload.spool.write_at(upload.length, *pieces)
    for piece in pieces:
        upload.hasher.update(piece)


def _disk_trouble(error: OSError) -> StorageFull:
    return StorageFull("the spool's disk is full" if is_full(error) else f"the spool cannot be written: {error}")
