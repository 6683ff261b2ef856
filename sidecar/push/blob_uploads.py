"""The push of a blob. It takes these steps, one after the other:

    BlobUploads.open         POST    the upstream opens a session for this caller; a spool file is made; encoding begins
    BlobUploads.append       PATCH   bytes are hashed and written to the spool, where the encoder reads them
                                     (sidecar/push/encoding.py)
    BlobUploads.finish       PUT     the digest is checked, the encoder ends, its outcome is committed
    UploadCommitter.commit           instructions and corpus go to the upstream, then the record; or the original goes
                                     there (sidecar/push/commit.py)

The answer is 201 only when the upstream holds the original, or a reduced form from which the blob was really rebuilt
and compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from reducto.errors import UsageError
from reducto.oci.registry_errors import DigestInvalid, Refused, RegistryError, StorageFull
from reducto.oci.transport import RegistryRequest
from reducto.values import Digest, Reason, Stored
from sidecar.api.exchange import Call
from sidecar.api.passthrough import Passthrough
from sidecar.push.commit import UploadCommitter
from sidecar.push.encoding import Encoding
from sidecar.push.mounts import mount_reduced
from sidecar.push.sessions import Upload, UploadSessions
from sidecar.records.repository import Repository
from sidecar.runtime.offload import Offload

#: Begins to reduce an upload while its bytes arrive. None if this sidecar reduces nothing.
StartEncoding = Callable[[Upload], Encoding | None]


class BlobUploads:
    """Answers everything under ``/v2/<name>/blobs/uploads/``."""

    def __init__(
        self,
        passthrough: Passthrough,
        sessions: UploadSessions,
        committer: UploadCommitter,
        start_encoding: StartEncoding,
        offload: Offload,
    ) -> None:
        self._passthrough = passthrough
        self._sessions = sessions
        self._committer = committer
        self._start_encoding = start_encoding
        self._offload = offload

    async def open(self, call: Call, repository: Repository) -> web.StreamResponse:
        """POST: mounts a blob, takes a whole blob, or opens a session."""
        mounted = await mount_reduced(repository, call.query) if "mount" in call.query else None
        if mounted is not None:
            return _created(repository, mounted)
        query = call.request.rel_url.raw_query_string if "mount" in call.query else ""
        target = f"{call.route.path}?{query}" if query else call.route.path
        request = RegistryRequest("POST", target, call.caller, {"Content-Length": "0"}, b"")
        async with await self._passthrough.send(request) as answer:
            location = answer.location
            if answer.status != 202 or not location:
                return await self._passthrough.relay(call, answer)
        try:
            upload = await self._sessions.start(repository, location)
        except RegistryError:
            await repository.abandon_upload(location)
            raise
        upload.encoding = self._start_encoding(upload)
        if "digest" in call.query and "mount" not in call.query:
            async with upload.lock:
                return await self._complete(call, upload)
        return _progress(upload, 202)

    async def append(self, call: Call, repository: Repository, session_id: str) -> web.StreamResponse:
        """PATCH: takes the next bytes."""
        upload = await self._claim(repository, session_id)
        async with upload.lock:
            await self._receive(call, upload)
            return _progress(upload, 202)

    async def status(self, call: Call, repository: Repository, session_id: str) -> web.StreamResponse:
        """GET: says how many bytes have arrived."""
        return _progress(await self._claim(repository, session_id), 204)

    async def cancel(self, call: Call, repository: Repository, session_id: str) -> web.StreamResponse:
        """DELETE: drops the session here and in the upstream."""
        upload = await self._claim(repository, session_id)
        async with upload.lock:
            await self._sessions.drop(upload)
            await upload.repository.cancel_upload(upload.location)
        return web.Response(status=204)

    async def finish(self, call: Call, repository: Repository, session_id: str) -> web.StreamResponse:
        """PUT: takes the last bytes, checks the digest and commits the blob."""
        upload = await self._claim(repository, session_id)
        async with upload.lock:
            return await self._complete(call, upload)

    async def _complete(self, call: Call, upload: Upload) -> web.StreamResponse:
        digest = _digest_of(call)
        await self._receive(call, upload)
        started = time.monotonic()
        try:
            await self._check(upload, digest)
            outcome = await upload.encoding.finish(digest) if upload.encoding else Stored(Reason.DISABLED)
            await self._committer.commit(upload, digest, outcome, started)
        except BaseException:
            await upload.repository.abandon_upload(upload.location)
            raise
        finally:
            await self._sessions.drop(upload)
        return _created(upload.repository, digest)

    async def _receive(self, call: Call, upload: Upload) -> None:
        """Appends the request's body. A full disk ends the session, because other uploads need its space."""
        try:
            await self._sessions.receive(upload, call.body(), call.headers.get("Content-Range"))
        except StorageFull:
            await self._sessions.drop(upload)
            await upload.repository.abandon_upload(upload.location)
            raise

    async def _check(self, upload: Upload, digest: Digest) -> None:
        """Checks that the spool has the blob ``digest``. Raises `DigestInvalid`."""
        actual = upload.hasher.hexdigest()
        if digest.algorithm != "sha256":
            actual = await self._offload.io(_hash_spool, upload, digest)
        if actual != digest.hex:
            raise DigestInvalid(f"{upload.length} bytes arrived, and they are not {digest}", detail=str(digest))

    async def _claim(self, repository: Repository, session_id: str) -> Upload:
        """The session, if it belongs to this caller. A caller with another credential takes the session over if the
        upstream lets that credential see it. Raises `UploadUnknown`, `Refused`."""
        upload = self._sessions.find(repository.name, session_id)
        if not upload.belongs_to(repository.caller):
            request = RegistryRequest("GET", upload.location, repository.caller)
            async with await self._passthrough.send(request) as answer:
                if answer.status in (401, 403):
                    raise Refused(answer.status, answer.headers, await answer.read(1 << 20))
            upload.repository = repository
        return upload


def _digest_of(call: Call) -> Digest:
    try:
        return Digest.parse(call.query.get("digest", ""))
    except UsageError as error:
        raise DigestInvalid(str(error)) from error


def _hash_spool(upload: Upload, digest: Digest) -> str:
    hasher = digest.hasher()
    with open(upload.spool.path, "rb") as source:
        while piece := source.read(1 << 20):
            hasher.update(piece)
    return str(hasher.hexdigest())


def _progress(upload: Upload, status: int) -> web.Response:
    headers = {
        "Location": upload.path,
        "Range": f"0-{max(0, upload.length - 1)}",
        "Docker-Upload-UUID": upload.session_id,
        "Docker-Distribution-Api-Version": "registry/2.0",
    }
    return web.Response(status=status, headers=headers)


def _created(repository: Repository, digest: Digest) -> web.Response:
    headers = {
        "Location": f"/v2/{repository}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
        "Docker-Distribution-Api-Version": "registry/2.0",
    }
    return web.Response(status=201, headers=headers)
