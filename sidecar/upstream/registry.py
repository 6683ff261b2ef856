"""A registry over HTTP(S): connection limits, retries, redirects to storage, a private CA."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from reducto.config import UpstreamOptions
from reducto.oci.errors import Unavailable
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import (
    PIECE_BYTES,
    Caller,
    FileBody,
    StreamBody,
    UpstreamCut,
    UpstreamRequest,
    UpstreamResponse,
    body_pieces,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT = 5
_BACKOFF_SECONDS = 0.2
_RETRY_STATUS = frozenset({502, 503, 504})
#: Answers that ask for patience are the client's to see: only gateways' own failures are tried again.
_CONNECTION_ERRORS = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    asyncio.TimeoutError,
    OSError,
)


class RegistryUpstream:
    """Speaks to one registry. Holds the connection pool; `close` it."""

    def __init__(
        self, config: UpstreamOptions, offload: Offload, metrics: Metrics, tls: ssl.SSLContext | None = None
    ) -> None:
        """``tls`` takes the place of what ``config`` says of certificates."""
        self._config = config
        self._offload = offload
        self._metrics = metrics
        self._base = URL(config.url.rstrip("/"))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.max_connections, ssl=tls or _tls_context(config), keepalive_timeout=30
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=None,
                sock_connect=config.connect_timeout,
                sock_read=config.read_timeout,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            read_bufsize=PIECE_BYTES,
            max_line_size=32 << 10,
            max_field_size=64 << 10,
        )

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """The registry's answer, redirects of reads followed, idempotent requests tried again."""
        url = self._resolve(request.target)
        attempts = self._config.retries + 1 if _repeatable(request) else 1
        for attempt in range(attempts):
            last = attempt == attempts - 1
            try:
                answer = await self._follow(request, url)
            except _CONNECTION_ERRORS as error:
                self._metrics.upstream_errors.labels(kind=type(error).__name__).inc()
                if last:
                    raise Unavailable(f"the upstream registry does not answer: {type(error).__name__}") from error
            else:
                self._metrics.upstream_requests.labels(method=request.method, status=str(answer.status)).inc()
                if last or answer.status not in _RETRY_STATUS:
                    return _HttpResponse(answer)
                answer.close()
            # Full jitter: many requests that failed together must not come back together.
            await asyncio.sleep(_BACKOFF_SECONDS * 2**attempt * (0.5 + random.random()))  # noqa: S311
        raise AssertionError("unreachable")

    async def ping(self) -> None:
        """Any answer to ``/v2/``, a challenge included, shows a living registry."""
        async with await self.send(UpstreamRequest("GET", "/v2/", Caller())) as answer:
            if answer.status >= 500:
                raise Unavailable(f"the upstream registry answers {answer.status}")

    async def close(self) -> None:
        await self._session.close()

    def _resolve(self, target: str) -> URL:
        if target.startswith(("http://", "https://")):
            return URL(target, encoded=True)
        return URL(f"{self._base.origin()}{self._base.raw_path.rstrip('/')}{target}", encoded=True)

    async def _follow(self, request: UpstreamRequest, url: URL) -> aiohttp.ClientResponse:
        """One attempt. Only reads follow redirects; the caller's credentials never leave the registry's origin."""
        answer = await self._once(request, url)
        if request.method not in ("GET", "HEAD"):
            return answer
        for _ in range(_REDIRECT_LIMIT):
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                break
            answer.release()
            url = URL(urljoin(str(answer.url), location), encoded=True)
            answer = await self._once(request, url)
        return answer

    async def _once(self, request: UpstreamRequest, url: URL) -> aiohttp.ClientResponse:
        headers = CIMultiDict(request.headers)
        headers["Accept-Encoding"] = "identity"  # what is hashed and measured are the stored bytes
        caller = request.caller
        if caller.authorization is not None and url.origin() == self._base.origin():
            headers["Authorization"] = caller.authorization
        if caller.request_id:
            headers["X-Request-Id"] = caller.request_id
        if caller.client:
            headers["X-Forwarded-For"] = caller.client
        headers.setdefault("User-Agent", caller.user_agent or "reducto")
        payload = self._payload(request, headers)
        return await self._session.request(request.method, url, headers=headers, data=payload, allow_redirects=False)

    def _payload(self, request: UpstreamRequest, headers: CIMultiDict[str]) -> Any:
        body = request.body
        if isinstance(body, FileBody):
            headers["Content-Length"] = str(len(body.range))
            return body_pieces(body, self._offload) if len(body.range) else b""
        if isinstance(body, StreamBody):
            if body.length is not None:
                headers["Content-Length"] = str(body.length)
                if body.length == 0:
                    return b""
            return body.pieces
        if body and len(body) > PIECE_BYTES:
            headers["Content-Length"] = str(len(body))
            return _sliced(body)
        return body


class _HttpResponse(UpstreamResponse):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        super().__init__(answer.status, CIMultiDict(answer.headers))
        self._answer = answer

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.content.iter_any():
                yield piece
        except _CONNECTION_ERRORS as error:
            raise UpstreamCut(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()


async def _sliced(body: bytes) -> AsyncIterator[bytes]:
    """A large body in pieces, so that the event loop never copies all of it at once."""
    view = memoryview(body)
    for at in range(0, len(view), PIECE_BYTES):
        yield bytes(view[at : at + PIECE_BYTES])


def _repeatable(request: UpstreamRequest) -> bool:
    if isinstance(request.body, StreamBody):
        return False
    return request.method in ("GET", "HEAD") or (request.method == "PUT" and "/manifests/" in request.target)


def _tls_context(config: UpstreamOptions) -> ssl.SSLContext | bool:
    if not config.url.startswith("https://"):
        return True
    context = ssl.create_default_context()
    if config.ca_file is not None:
        context.load_verify_locations(cafile=config.ca_file)
    if config.client_certificate_file is not None:
        context.load_cert_chain(config.client_certificate_file, config.client_key_file)
    return context
