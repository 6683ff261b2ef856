"""Pull of a blob, one straight line: record -> corpora at hand -> rebuild into the cache file -> readers follow it.

Pull.__call__      whose is it: a record's, or the upstream's own?
Pull._serve        warm from the cache file, or cold behind a rebuild
Layers.decoder     instructions and corpora at hand (sidecar/pull/decoders.py)
Rebuilds.cold      one rebuild per digest, its proof, the cache (sidecar/pull/rebuild.py)
Precedents.attach  an older layer that makes it faster, if one is at hand (sidecar/pull/token_reuse.py)
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from aiohttp import web
from multidict import CIMultiDict

from reducto.errors import KeyUnavailable, ReductoError
from reducto.oci import routes
from reducto.oci.errors import RegistryError, Unavailable
from reducto.oci.names import RepositoryName
from reducto.oci.ranges import parse_range
from reducto.values import ByteRange
from sidecar.api.exchange import Call, breaking, relay, send_file
from sidecar.api.passthrough import Passthrough
from sidecar.pull.decoders import Layers
from sidecar.pull.rebuild import Prepared, Rebuilds
from sidecar.pull.token_reuse import Precedents
from sidecar.records.format import LayerRecord
from sidecar.records.store import RecordStore
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import Caller, FileBody
from sidecar.upstream.client import Refused


class RebuildFailed(RegistryError):
    """A reduced blob cannot be rebuilt just now."""

    status, code = 500, "REBUILD_FAILED"


class BlobLocked(RegistryError):
    """A reduced blob is encrypted under a key that this sidecar was not given; the log says which."""

    status, code = 500, "KEY_UNAVAILABLE"


class Pull:
    """Answers GET and HEAD of blobs."""

    def __init__(
        self,
        passthrough: Passthrough,
        records: RecordStore,
        layers: Layers,
        rebuilds: Rebuilds,
        precedents: Precedents,
        offload: Offload,
        metrics: Metrics,
        prefer_records: bool,
    ) -> None:
        self._passthrough = passthrough
        self._records = records
        self._layers = layers
        self._rebuilds = rebuilds
        self._precedents = precedents
        self._offload = offload
        self._metrics = metrics
        self._prefer_records = prefer_records

    async def __call__(self, call: Call) -> web.StreamResponse:
        """The blob: rebuilt when it was reduced, else as the upstream has it."""
        route = call.route
        assert isinstance(route, routes.BlobAt)
        if self._prefer_records and not self._records.is_plain(route.repository, route.digest):
            layer = await self._find(call, route)
            if layer is not None:
                return await self._serve_either(call, route, layer)
        async with await self._passthrough.upstream.send(call.upstream_request()) as answer:
            if answer.status == 404 and (layer := await self._search(call, route)) is not None:
                return await self._serve(call, layer)
            return await relay(call, answer, self._passthrough.base, self._offload)

    async def _find(self, call: Call, route: routes.BlobAt) -> LayerRecord | None:
        """The layer's record, unless the upstream refuses this caller: then its own answer is the right one."""
        try:
            return await self._records.layer(call.caller, route.repository, route.digest)
        except Refused as refusal:
            if refusal.status >= 500:
                raise Unavailable(f"the upstream answers {refusal.status}") from refusal
            return None

    async def _search(self, call: Call, route: routes.BlobAt) -> LayerRecord | None:
        """Looks harder: under the record's tag, then in image records that another tool copied here."""
        layer = await self._find(call, route)
        if layer is None:
            await self._records.scan(call.caller, route.repository)
            if self._records.remembered_layer(route.repository, route.digest):
                layer = await self._find(call, route)
        return layer

    async def _serve_either(self, call: Call, route: routes.BlobAt, layer: LayerRecord) -> web.StreamResponse:
        """The rebuilt blob; where that fails, the original, if the upstream has it as well.

        Of a blob that cannot be rebuilt for good, HEAD says what the upstream says, so that a client pushes it again.
        """
        if (
            call.method == "HEAD"
            and self._records.is_doubted(route.repository, layer.digest)
            and not await self._records.has_all(call.caller, route.repository, layer)
        ):
            return await self._passthrough(call)
        try:
            return await self._serve(call, layer)
        except RegistryError as error:
            transport = call.request.transport
            if error.status < 500 or transport is None or transport.is_closing():  # in the middle of its answer
                raise
            async with await self._passthrough.upstream.send(call.upstream_request()) as answer:
                if answer.status not in (200, 206):
                    raise
                return await relay(call, answer, self._passthrough.base, self._offload)

    async def _serve(self, call: Call, layer: LayerRecord) -> web.StreamResponse:
        started = time.monotonic()
        headers = CIMultiDict(
            {
                "Content-Type": "application/octet-stream",
                "Docker-Content-Digest": str(layer.digest),
                "ETag": f'"{layer.digest}"',
                "Accept-Ranges": "bytes",
                "Cache-Control": "max-age=31536000",
                "Docker-Distribution-Api-Version": "registry/2.0",
            }
        )
        if call.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        if call.method == "HEAD":
            headers["Content-Length"] = str(layer.wire_length)
            return web.Response(status=200, headers=headers)
        assert isinstance(call.route, routes.BlobAt)
        self._precedents.note(call.route.repository, layer)
        wanted = parse_range(call.headers.get("Range"), layer.wire_length)
        if wanted is not None:
            headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{layer.wire_length}"
        status, span = (200 if wanted is None else 206), wanted or ByteRange(0, layer.wire_length)
        warm = await self._rebuilds.cache.warm(layer.digest, layer.instructions.digest)
        self._metrics.cache_requests.labels(result="cold" if warm is None else "warm").inc()
        if warm is not None:
            self._metrics.first_byte_seconds.labels(source="warm").observe(time.monotonic() - started)
            self._metrics.saved.labels(direction="pull").inc(len(span))
            return await send_file(call, status, headers, FileBody(warm.path, span), self._offload)
        return await self._send_cold(call, layer, status, headers, span, started)

    async def _send_cold(
        self, call: Call, layer: LayerRecord, status: int, headers: CIMultiDict[str], span: ByteRange, started: float
    ) -> web.StreamResponse:
        """Streams the blob behind its rebuild. Until the first byte is there, a failure is an honest error."""
        route = call.route
        assert isinstance(route, routes.BlobAt)
        rebuild = await self._rebuilds.cold(layer, partial(self._prepare, call.caller, route.repository, layer))
        try:
            pieces = rebuild.read(span)
            try:
                first = await anext(pieces, b"")
            except (Refused, ReductoError, OSError) as error:
                self._records.doubt(route.repository, layer.digest)
                raise _as_answer(error, layer) from error
            self._metrics.first_byte_seconds.labels(source="cold").observe(time.monotonic() - started)
            response = web.StreamResponse(status=status, headers=headers)
            response.content_length = len(span)
            async with breaking(call, response):
                await response.prepare(call.request)
                await response.write(first)
                async for piece in pieces:
                    await response.write(piece)
                await response.write_eof()
            return response
        finally:
            await rebuild.file.release()

    async def _prepare(
        self, caller: Caller, repository: RepositoryName, layer: LayerRecord, distrust: bool
    ) -> Prepared:
        """The layer's decoder, which older layers in the cache may help."""
        if distrust:
            self._precedents.suspect(layer)
        decoder = asyncio.create_task(self._layers.decoder(caller, repository, layer, distrust=distrust))
        help = self._precedents.attach(caller, repository, layer, decoder)
        return Prepared(await decoder, help)


def _as_answer(error: Exception, layer: LayerRecord) -> RegistryError:
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, KeyUnavailable):
        return BlobLocked(f"blob {layer.digest} is encrypted, and its key is not here")
    logs.event("pull-failed", digest=str(layer.digest), error=f"{type(error).__name__}: {error}"[:300])
    return RebuildFailed(f"blob {layer.digest} cannot be rebuilt: {type(error).__name__}")
