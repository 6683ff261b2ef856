"""The pull of a blob. A reduced blob takes these steps, one after the other:

BlobPulls.get           reads the blob's record; without a record the upstream answers
answer_for              computes status, headers and range (sidecar/pull/answer.py)
BlobPulls._serve        sends the blob from the cache ("warm"), or while it is being rebuilt ("cold")
Rebuilds.cold           rebuilds the blob once for all readers, checks its sha256, caches it (sidecar/pull/rebuild.py)
LayerDecoders.decoder   fetches the instructions and the corpora (sidecar/pull/decoders.py)
TokenReuse.attach       finds an older layer whose deflate tokens make the rebuild faster (sidecar/pull/token_reuse.py)
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from aiohttp import web

from reducto.errors import (
    CorpusMissing,
    Corrupt,
    KeyUnavailable,
    LimitExceeded,
    NotReducto,
    ProofFailed,
    ReductoError,
)
from reducto.oci.registry_errors import Refused, RegistryError, UpstreamBroken
from reducto.oci.transport import FileBody, RegistryResponse
from reducto.values import Digest
from sidecar.api.exchange import Call, abort_on_error, send_file
from sidecar.api.passthrough import Passthrough
from sidecar.pull.answer import BlobAnswer, answer_for
from sidecar.pull.decoders import LayerDecoders
from sidecar.pull.rebuild import Prepared, Rebuilds
from sidecar.pull.token_reuse import TokenReuse
from sidecar.records.format import LayerRecord
from sidecar.records.repository import Repository
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload


class RebuildFailed(RegistryError):
    """A reduced blob could not be rebuilt in this request."""

    status, code = 500, "REBUILD_FAILED"


class BlobLocked(RegistryError):
    """A reduced blob is encrypted under a key that this sidecar does not have. The log names the key."""

    status, code = 500, "KEY_UNAVAILABLE"


class BlobPulls:
    """Answers GET and HEAD of blobs.

    With ``prefer_records`` a blob's record is read before the upstream is asked for the blob itself; otherwise it is
    read only if the upstream does not have the blob.
    """

    def __init__(
        self,
        passthrough: Passthrough,
        decoders: LayerDecoders,
        rebuilds: Rebuilds,
        token_reuse: TokenReuse,
        offload: Offload,
        metrics: Metrics,
        prefer_records: bool,
    ) -> None:
        self._passthrough = passthrough
        self._decoders = decoders
        self._rebuilds = rebuilds
        self._token_reuse = token_reuse
        self._offload = offload
        self._metrics = metrics
        self._prefer_records = prefer_records

    async def get(self, call: Call, repository: Repository, digest: Digest) -> web.StreamResponse:
        """The answer with the blob, which is rebuilt if it was reduced, else sent as the upstream has it."""
        layer = await repository.find_layer(digest) if self._prefer_records else None
        if layer is not None:
            return await self._serve_or_relay(call, repository, layer)

        async def search(answer: RegistryResponse) -> web.StreamResponse | None:
            found = await repository.search_layer(digest) if answer.status == 404 else None
            return await self._serve(call, repository, found) if found is not None else None

        return await self._passthrough(call, search)

    async def _serve_or_relay(self, call: Call, repository: Repository, layer: LayerRecord) -> web.StreamResponse:
        """The answer with the rebuilt blob. If the rebuild fails, the upstream's answer, if it has the original, too.

        If the blob can never be rebuilt, HEAD relays the upstream's answer, commonly 404, so that clients push it
        again.
        """
        if call.method == "HEAD" and repository.memory.is_broken(layer.digest):
            return await self._passthrough(call)
        try:
            return await self._serve(call, repository, layer)
        except RegistryError as error:
            transport = call.request.transport
            # The connection was broken in the middle of the answer, or the client asked for an impossible range.
            if error.status < 500 or transport is None or transport.is_closing():
                raise
            failure = error

        async def give_up(answer: RegistryResponse) -> None:
            if answer.status not in (200, 206):
                raise failure

        return await self._passthrough(call, give_up)

    async def _serve(self, call: Call, repository: Repository, layer: LayerRecord) -> web.StreamResponse:
        """The answer with the blob, from the cache or a rebuild. Raises `RebuildFailed`, `BlobLocked`,
        `RangeNotSatisfiable`."""
        started = time.monotonic()
        answer = answer_for(call, layer)
        if isinstance(answer, web.Response):
            return answer
        self._token_reuse.note(repository.name, layer)
        warm = await self._rebuilds.cache.warm(layer.digest, layer.instructions.digest)
        if warm is not None and not await repository.shows_blob(layer.instructions.digest):
            warm = None  # Who knows what rebuilt a blob has no right to it; the upstream decides about the cold way.
        self._metrics.cache_requests.labels(result="cold" if warm is None else "warm").inc()
        if warm is not None and len(warm.range) != layer.wire_length:
            repository.memory.mark_broken(layer.digest)
            raise RebuildFailed(f"blob {layer.digest} has not the length that its record says")
        if warm is None:
            return await self._send_cold(call, repository, layer, answer, started)
        self._metrics.first_byte_seconds.labels(source="warm").observe(time.monotonic() - started)
        self._metrics.saved.labels(direction="pull").inc(len(answer.span))
        return await send_file(call, answer.status, answer.headers, FileBody(warm.path, answer.span), self._offload)

    async def _send_cold(
        self, call: Call, repository: Repository, layer: LayerRecord, answer: BlobAnswer, started: float
    ) -> web.StreamResponse:
        """Sends the blob while it is being rebuilt. If the rebuild fails before its first byte, raises the error; later
        the client's connection is broken."""
        rebuild, begun = await self._rebuilds.cold(layer, partial(self._prepare, repository, layer))
        try:
            if not begun and not await repository.shows_blob(layer.instructions.digest):
                raise RebuildFailed(f"the instructions of blob {layer.digest} are not in {repository}")
            pieces = rebuild.read(answer.span)
            try:
                first = await anext(pieces, b"")
            except (Refused, ReductoError, OSError) as error:
                if _is_lasting(error):
                    repository.memory.mark_broken(layer.digest)
                raise _as_refusal(error, layer) from error
            self._metrics.first_byte_seconds.labels(source="cold").observe(time.monotonic() - started)
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            response.content_length = len(answer.span)
            async with abort_on_error(call, response):
                await response.prepare(call.request)
                await response.write(first)
                async for piece in pieces:
                    await response.write(piece)
                await response.write_eof()
            return response
        finally:
            await rebuild.file.release()

    async def _prepare(self, repository: Repository, layer: LayerRecord, bypass_cache: bool) -> Prepared:
        """The layer's decoder, and the search for an older layer in the cache whose tokens it can reuse."""
        if bypass_cache:
            self._token_reuse.block(layer)
        decoder = asyncio.create_task(self._decoders.decoder(repository, layer, bypass_cache=bypass_cache))
        donor_search = self._token_reuse.attach(repository, layer, decoder)
        return Prepared(await decoder, donor_search)


def _is_lasting(error: Exception) -> bool:
    """Whether the layer cannot be rebuilt from what is stored, however often it is tried: a push must store it anew."""
    if isinstance(error, Refused):
        return error.status == 404
    return isinstance(error, Corrupt | CorpusMissing | LimitExceeded | NotReducto | ProofFailed | UpstreamBroken)


def _as_refusal(error: Exception, layer: LayerRecord) -> RegistryError:
    # What the upstream said of a blob that the rebuild needs is no answer about the blob that the client asked for.
    if isinstance(error, RegistryError) and not isinstance(error, Refused):
        return error
    if isinstance(error, KeyUnavailable):
        return BlobLocked(f"blob {layer.digest} is encrypted under a key that this sidecar does not have")
    logs.event("pull-failed", digest=str(layer.digest), error=f"{type(error).__name__}: {error}"[:300])
    return RebuildFailed(f"blob {layer.digest} cannot be rebuilt: {type(error).__name__}")
