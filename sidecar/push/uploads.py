"""Push of a blob, one straight line:

    Push.open      POST    the upstream opens a session for this caller; a spool file; encoding begins
    Push.append    PATCH   bytes into the spool, hashed; the encoder follows (sidecar/push/encoding.py)
    Push.finish    PUT     the digest is checked -> the encoder's outcome -> `Keeper.keep` -> 201
    Keeper.keep    instructions and corpus into the upstream, then the record; or the original (sidecar/push/commit.py)

201 is answered only when the upstream holds the original, or a form that was really rebuilt and compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from reducto.errors import UsageError
from reducto.oci import routes
from reducto.oci.errors import DigestInvalid, RegistryError, StorageFull
from reducto.oci.names import RepositoryName
from reducto.values import Digest, Reason, Stored
from sidecar.api.exchange import Call, relay
from sidecar.api.passthrough import Passthrough
from sidecar.push.commit import Keeper
from sidecar.push.encoding import Encoding
from sidecar.push.mounts import Mounts
from sidecar.push.sessions import Upload, UploadSessions
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import UpstreamRequest, UpstreamResponse
from sidecar.upstream.client import Refused, RegistryClient

#: Begins to reduce what an upload's spool will hold; None when nothing is to be reduced.
StartEncoding = Callable[[Upload], Encoding | None]


class Push:
    """Answers everything under ``/v2/<name>/blobs/uploads/``."""

    def __init__(
        self,
        passthrough: Passthrough,
        client: RegistryClient,
        sessions: UploadSessions,
        mounts: Mounts,
        keeper: Keeper,
        start_encoding: StartEncoding,
        offload: Offload,
    ) -> None:
        self._passthrough = passthrough
        self._client = client
        self._sessions = sessions
        self._mounts = mounts
        self._keeper = keeper
        self._start_encoding = start_encoding
        self._offload = offload

    async def open(self, call: Call) -> web.StreamResponse:
        """POST: a mount, a whole blob at once, or a new session."""
        route = call.route
        assert isinstance(route, routes.Uploads)
        if "mount" in call.query and await self._mounts.mount_reduced(call):
            digest = Digest.parse(call.query["mount"])
            return _created(route.repository, digest)
        query = call.request.rel_url.raw_query_string if "mount" in call.query else ""
        target = f"{route.path}?{query}" if query else route.path
        request = UpstreamRequest("POST", target, call.caller, {"Content-Length": "0"}, b"")
        async with await self._passthrough.upstream.send(request) as answer:
            location = answer.headers.get("Location")
            if answer.status != 202 or not location:
                return await self._relay_start(call, answer)
        try:
            upload = await self._sessions.start(route.repository, call.caller, location)
        except RegistryError:
            await self._client.abandon_upload(call.caller, location)
            raise
        upload.encoding = self._start_encoding(upload)
        if "digest" in call.query and "mount" not in call.query:
            async with upload.lock:
                return await self._complete(call, upload)
        return _progress(upload, 202)

    async def append(self, call: Call) -> web.StreamResponse:
        """PATCH: the next bytes."""
        upload = await self._claim(call)
        async with upload.lock:
            await self._receive(call, upload)
            return _progress(upload, 202)

    async def status(self, call: Call) -> web.StreamResponse:
        """GET: how far the upload has come."""
        return _progress(await self._claim(call), 204)

    async def cancel(self, call: Call) -> web.StreamResponse:
        """DELETE: drops the session, here and in the upstream."""
        upload = await self._claim(call)
        async with upload.lock:
            await self._sessions.drop(upload)
            await self._client.cancel_upload(call.caller, upload.location)
        return web.Response(status=204)

    async def finish(self, call: Call) -> web.StreamResponse:
        """PUT: the last bytes and the digest."""
        upload = await self._claim(call)
        async with upload.lock:
            return await self._complete(call, upload)

    async def _complete(self, call: Call, upload: Upload) -> web.StreamResponse:
        digest = _digest_of(call)
        await self._receive(call, upload)
        started = time.monotonic()
        try:
            await self._check(upload, digest)
            outcome = await upload.encoding.finish(digest) if upload.encoding else Stored(Reason.DISABLED)
            await self._keeper.keep(call.caller, upload, digest, outcome, started)
        except BaseException:
            await self._client.abandon_upload(upload.caller, upload.location)
            raise
        finally:
            await self._sessions.drop(upload)
        return _created(upload.repository, digest)

    async def _receive(self, call: Call, upload: Upload) -> None:
        """Takes a body in. A full disk ends the session: what it holds is room that others need."""
        try:
            await self._sessions.receive(upload, call.body(), call.headers.get("Content-Range"))
        except StorageFull:
            await self._sessions.drop(upload)
            await self._client.abandon_upload(upload.caller, upload.location)
            raise

    async def _check(self, upload: Upload, digest: Digest) -> None:
        """The spool holds what the client says. Raises `DigestInvalid`."""
        actual = upload.hasher.hexdigest()
        if digest.algorithm != "sha256":
            actual = await self._offload.io(_hash_spool, upload, digest)
        if actual != digest.hex:
            raise DigestInvalid(f"{upload.length} bytes arrived, and they are not {digest}", detail=str(digest))

    async def _claim(self, call: Call) -> Upload:
        """The session, if it is this caller's; a renewed credential is shown to the upstream first."""
        route = call.route
        assert isinstance(route, routes.UploadAt)
        upload = self._sessions.find(route.repository, route.session_id)
        if not upload.belongs_to(call.caller):
            request = UpstreamRequest("GET", upload.location, call.caller)
            async with await self._passthrough.upstream.send(request) as answer:
                if answer.status in (401, 403):
                    raise Refused(answer.status, answer.headers, await answer.read(1 << 20))
            upload.caller = call.caller
        return upload

    async def _relay_start(self, call: Call, answer: UpstreamResponse) -> web.StreamResponse:
        return await relay(call, answer, self._passthrough.base, self._offload)


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


def _created(repository: RepositoryName, digest: Digest) -> web.Response:
    headers = {
        "Location": f"/v2/{repository}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
        "Docker-Distribution-Api-Version": "registry/2.0",
    }
    return web.Response(status=201, headers=headers)
