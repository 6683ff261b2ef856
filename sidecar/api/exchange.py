"""One client's request, with its caller and route, and the functions that send answers back to the client."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from reducto.files import open_read
from reducto.oci import routes
from reducto.oci.registry_errors import UploadInvalid
from reducto.oci.transport import Caller, FileBody, RegistryRequest, RegistryResponse, StreamBody, body_pieces
from sidecar.api.addresses import translate
from sidecar.runtime.offload import Offload

_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        *("proxy-authenticate", "proxy-authorization"),
    }
)
#: Headers that are not copied to the upstream's request. The transport sets them for its own connection.
_OWN_REQUEST_HEADERS = _HOP_BY_HOP | {
    "host", "authorization", "content-length", "accept-encoding", "x-request-id", "x-forwarded-for", "cookie"
}  # fmt: skip
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class ClientGone(ConnectionError):
    """The client closed its connection in the middle of a body, or sent no byte of it for too long."""


@dataclass(frozen=True, slots=True)
class Call:
    """A client's request, parsed once."""

    request: web.Request
    route: routes.Route
    caller: Caller
    body_timeout_seconds: float

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    def body(self) -> StreamBody:
        """The request's body, which can be read once. Its pieces raise `ClientGone`, `UploadInvalid`."""
        return StreamBody(self._pieces(), self.request.content_length)

    async def _pieces(self) -> AsyncIterator[bytes]:
        content = self.request.content
        while True:
            try:
                async with asyncio.timeout(self.body_timeout_seconds):
                    piece = await content.readany()
            except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                raise ClientGone(f"the client's body ended early: {type(error).__name__}") from error
            except aiohttp.http_exceptions.HttpProcessingError as error:
                raise UploadInvalid("the body is not valid HTTP") from error
            if not piece:
                return
            yield piece

    def upstream_request(self, *, body: bool = True) -> RegistryRequest:
        """The same request for the upstream, with the caller's credentials and without hop-by-hop headers."""
        url = self.request.rel_url
        path = url.raw_path if isinstance(self.route, routes.Other) else self.route.path
        target = f"{path}?{url.raw_query_string}" if url.raw_query_string else path
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _OWN_REQUEST_HEADERS]
        has_body = body and self.request.body_exists
        return RegistryRequest(
            self.method, target, self.caller, CIMultiDict(headers), self.body() if has_body else None
        )


#: The key under which a request keeps its `Call`, for handlers and inner middlewares.
CALL: web.RequestKey[Call] = web.RequestKey("call", Call)


def call_of(request: web.Request, body_timeout_seconds: float) -> Call:
    """The request as a `Call`."""
    given = request.headers.get("X-Request-Id", "")
    forwarded = request.headers.get("X-Forwarded-For", "")
    remote = request.remote or ""
    caller = Caller(
        authorization=request.headers.get(hdrs.AUTHORIZATION),
        request_id=given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8),
        client=f"{forwarded}, {remote}" if forwarded else remote,
        user_agent=request.headers.get(hdrs.USER_AGENT, ""),
    )
    return Call(request, routes.parse(request.path), caller, body_timeout_seconds)


async def relay(call: Call, answer: RegistryResponse, base: str, offload: Offload) -> web.StreamResponse:
    """Sends the upstream's answer to the client. If its body ends early, the client's connection is broken.

    ``base`` is the upstream's own URL; addresses in headers are translated to the sidecar's.
    """
    headers = client_headers(answer, base)
    if answer.file is not None:
        return await send_file(call, answer.status, headers, answer.file, offload)
    response = web.StreamResponse(status=answer.status, headers=headers)
    length = answer.length
    if call.method == "HEAD" or length == 0:
        return _bodiless(answer.status, headers, length)
    if length is not None:
        response.content_length = length
    elif call.request.version >= (1, 1) and answer.status >= 200 and answer.status not in (204, 304):
        response.enable_chunked_encoding()
    async with abort_on_error(call, response):
        await response.prepare(call.request)
        async for piece in answer.pieces():
            await response.write(piece)
        await response.write_eof()
    return response


class abort_on_error:
    """Breaks the client's connection if the block fails, so that no client takes an incomplete body for a whole one."""

    def __init__(self, call: Call, response: web.StreamResponse) -> None:
        self._call = call
        self._response = response

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._response.prepared and (transport := self._call.request.transport):
            transport.abort()


async def send_file(
    call: Call, status: int, headers: CIMultiDict[str], file: FileBody, offload: Offload
) -> web.StreamResponse:
    """Sends a range of a file that nobody changes, by sendfile if the transport can do that."""
    handle = await offload.io(open_read, file.path)
    try:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(file.range)
        async with abort_on_error(call, response):
            await response.prepare(call.request)
            transport = call.request.transport
            if transport is None:
                raise ClientGone("the client closed its connection")
            try:
                loop = asyncio.get_running_loop()
                if len(file.range):
                    await loop.sendfile(transport, handle, file.range.start, len(file.range), fallback=False)
            except (NotImplementedError, asyncio.SendfileNotAvailableError):  # The connection is encrypted (TLS).
                async for piece in body_pieces(file, offload):
                    await response.write(piece)
            await response.write_eof()
        return response
    finally:
        await offload.io(handle.close)


def client_headers(answer: RegistryResponse, base: str) -> CIMultiDict[str]:
    """The upstream's headers for the client, without hop-by-hop headers. Addresses lead to the sidecar, not to the
    upstream at ``base``."""
    headers = CIMultiDict(
        (name, value)
        for name, value in answer.headers.items()
        if name.lower() not in _HOP_BY_HOP and name.lower() not in ("content-length", "date", "server")
    )
    translate(headers, answer, base)
    return headers


def _bodiless(status: int, headers: CIMultiDict[str], length: int | None) -> web.Response:
    """An answer without a body, to HEAD for instance, with the Content-Length that GET would have."""
    if length is not None and status != 204:
        headers["Content-Length"] = str(length)
    return web.Response(status=status, headers=headers)
