"""A registry over HTTP(S): connection limits, repeated requests, redirects, a private CA.

`reducto.oci.origin` states the rule of what may leave the registry's origin; it is applied here, to every exchange.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from reducto.oci.origin import Origin, anonymous_headers, origin_of
from reducto.oci.registry_errors import Unavailable, UpstreamBroken
from reducto.oci.retry import Attempts, RetryPolicy, retry_after_seconds
from reducto.oci.transport import (
    PIECE_BYTES,
    Caller,
    ConnectionCut,
    DiskWorkers,
    FileBody,
    RegistryRequest,
    RegistryResponse,
    StreamBody,
    TransferObserver,
    body_pieces,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT = 5
_OWN_NAME = "reducto"
_ONCE, _RETRIES = RetryPolicy(1, 0.0), RetryPolicy(4, 0.2)
#: Gateways' own failures are tried again. Answers that ask for patience are the client's to see, unless the client is
#: this program itself.
_RETRY_STATUSES = frozenset({502, 503, 504})
_PATIENT_RETRY_STATUSES = _RETRY_STATUSES | {429, 500}
_CONNECTION_ERRORS = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    asyncio.TimeoutError,
    OSError,
)
#: A certificate that is refused now is refused in a second, too.
_TLS_ERRORS = (aiohttp.ClientSSLError, ssl.SSLError)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How to reach one registry."""

    url: str
    """Its address, which may have a path."""
    ca_file: Path | None = None
    """PEM certificates to trust beside the system's."""
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    """Limit for silence on a connection."""
    max_connections: int = 64
    retries: RetryPolicy = _RETRIES
    patient: bool = False
    """Whether any request whose body can be sent again is repeated, also where the registry answers that it has too
    much to do; its ``Retry-After`` is kept to. A proxy leaves that to its clients."""
    environment_proxies: bool = False
    """Whether to go through the proxies that ``HTTPS_PROXY`` and similar variables name."""


class HttpTransport:
    """Speaks to one registry. Holds the connection pool; `close` it. To be made on the event loop that uses it."""

    def __init__(
        self,
        options: HttpOptions,
        workers: DiskWorkers,
        observer: TransferObserver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` takes the place of what ``options`` says of certificates, for the registry's own origin.

        Raises `OSError` when a certificate cannot be read, `ValueError` when the address is none.
        """
        self._options = options
        self._workers = workers
        self._observer = observer or TransferObserver()
        self._home = origin_of(options.url)
        base = URL(options.url.rstrip("/"))
        self._base = f"{base.origin()}{base.raw_path.rstrip('/')}"
        self._prefix = base.raw_path.rstrip("/")
        self._strangers_tls = _tls_context(options)
        # A client certificate identifies this program, so that only the registry is shown it.
        self._home_tls = tls or (_with_client_certificate(options) or self._strangers_tls)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=options.max_connections, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=None,
                sock_connect=options.connect_timeout_seconds,
                sock_read=options.read_timeout_seconds,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            read_bufsize=PIECE_BYTES,
            max_line_size=32 << 10,
            max_field_size=64 << 10,
        )

    async def send(self, request: RegistryRequest) -> RegistryResponse:
        """The registry's answer, redirects of reads followed, requests tried again that may be.

        Raises `Unavailable` when there is none, `UpstreamBroken` when it is not HTTP.
        """
        async for attempt in Attempts(self._options.retries if self._repeatable(request) else _ONCE):
            try:
                answer = await self._follow(request)
            except _CONNECTION_ERRORS as error:
                self._observer.failed(type(error).__name__)
                if attempt.last or isinstance(error, _TLS_ERRORS):
                    raise Unavailable(f"the registry does not answer: {type(error).__name__}") from error
            except aiohttp.ClientResponseError as error:
                raise UpstreamBroken(f"the registry's answer is not HTTP: {str(error)[:200]}") from error
            else:
                self._observer.answered(request.method, answer.status)
                if answer.status not in (_PATIENT_RETRY_STATUSES if self._options.patient else _RETRY_STATUSES):
                    return _HttpResponse(answer)
                if self._options.patient:
                    attempt.ask_for_pause(retry_after_seconds(answer.headers.get("Retry-After")))
                if attempt.last:
                    return _HttpResponse(answer)
                answer.close()
        raise AssertionError("unreachable")

    async def ping(self) -> None:
        """Any answer to ``/v2/``, a challenge included, shows a living registry."""
        async with await self.send(RegistryRequest("GET", "/v2/", Caller())) as answer:
            if answer.status >= 500:
                raise Unavailable(f"the registry answers {answer.status}")

    async def close(self) -> None:
        await self._session.close()

    def _repeatable(self, request: RegistryRequest) -> bool:
        if isinstance(request.body, StreamBody):
            return False
        reads_or_replaces = request.method in ("GET", "HEAD") or (
            request.method == "PUT" and "/manifests/" in request.target
        )
        return reads_or_replaces or self._options.patient

    def _resolve(self, request: RegistryRequest) -> tuple[URL, Origin]:
        """The address of a request's target, and its origin. Raises `UpstreamBroken`."""
        if request.target.startswith("/"):
            return _located(self._base + request.target)
        url, origin = _located(request.target)
        if request.elsewhere:
            return url, origin
        plain = self._home._replace(scheme="http", port=80)
        if self._home.scheme == "https" and origin in (plain, self._home._replace(scheme="http")):
            # A registry behind a proxy that ends TLS may not know that its own address is https.
            url, origin = _located(f"{self._home}{url.raw_path_qs}")
        if self._prefix and origin == self._home and url.raw_path.startswith("/v2/"):
            # A registry behind a proxy that strips a path does not know of the path either.
            url, origin = _located(f"{self._base}{url.raw_path_qs}")
        return url, origin

    async def _follow(self, request: RegistryRequest) -> aiohttp.ClientResponse:
        """The answer to one attempt. Only reads follow redirects."""
        url, origin = self._resolve(request)
        home = origin if request.elsewhere else self._home
        away = origin != home
        answer = await self._once(request, url, away=away)
        for _ in range(_REDIRECT_LIMIT if request.method in ("GET", "HEAD") else 0):
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                break
            try:
                url, origin = _located(location, str(answer.url))
            except UpstreamBroken:
                answer.close()
                raise
            if request.elsewhere and origin != home:
                break
            # An origin that was left is not trusted again: the other one chose where on it the request goes.
            away = away or origin != home
            answer.release()
            answer = await self._once(request, url, away=away)
        return answer

    async def _once(self, request: RegistryRequest, url: URL, *, away: bool) -> aiohttp.ClientResponse:
        """One exchange; ``away`` from the origin that the caller's identity is meant for."""
        headers = anonymous_headers(request.headers) if away else CIMultiDict(request.headers)
        if accepted := headers.getall("Accept", ()):
            headers["Accept"] = ", ".join(accepted)
        headers["Accept-Encoding"] = "identity"  # what is hashed and measured are the stored bytes
        if away:
            headers["User-Agent"] = _OWN_NAME
        else:
            _identify(headers, request.caller)
        payload = self._payload(request, headers)
        at_home = origin_of(url) == self._home and not away
        return await self._session.request(
            request.method,
            url,
            headers=headers,
            data=payload,
            allow_redirects=False,
            ssl=self._home_tls if at_home else self._strangers_tls,
            proxy=_proxy_for(url) if self._options.environment_proxies else None,
        )

    def _payload(self, request: RegistryRequest, headers: CIMultiDict[str]) -> Any:
        body = request.body
        if isinstance(body, FileBody):
            headers["Content-Length"] = str(len(body.range))
            return body_pieces(body, self._workers) if len(body.range) else b""
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


class _HttpResponse(RegistryResponse):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        super().__init__(answer.status, CIMultiDict(answer.headers))
        self.method, self.url = answer.method, str(answer.url)
        self._answer = answer

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.content.iter_any():
                yield piece
        except _CONNECTION_ERRORS as error:
            raise ConnectionCut(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()


def _identify(headers: CIMultiDict[str], caller: Caller) -> None:
    """Adds what tells the registry who asks."""
    if caller.authorization is not None:
        headers["Authorization"] = caller.authorization
    if caller.request_id:
        headers["X-Request-Id"] = caller.request_id
    if caller.client:
        headers["X-Forwarded-For"] = caller.client
    headers.setdefault("User-Agent", caller.user_agent or _OWN_NAME)


async def _sliced(body: bytes) -> AsyncIterator[bytes]:
    """A large body in pieces, so that the event loop never copies all of it at once."""
    view = memoryview(body)
    for at in range(0, len(view), PIECE_BYTES):
        yield bytes(view[at : at + PIECE_BYTES])


def _located(address: str, base: str = "") -> tuple[URL, Origin]:
    """An address that a registry named, and its origin. Raises `UpstreamBroken` for what is no HTTP address.

    A user and password in it are left out: nobody is sent credentials that another server chose.
    """
    try:
        url = URL(urljoin(base, address), encoded=True)
        return url.with_user(None) if url.raw_user is not None else url, origin_of(url)
    except ValueError as error:
        raise UpstreamBroken(f"the registry names an address that cannot be asked: {address[:200]!r}") from error


def _proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for an address, as other programs take it."""
    if not url.host or urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _tls_context(options: HttpOptions) -> ssl.SSLContext | bool:
    """What certificates of servers are checked against; True is aiohttp's own context, which has the system's."""
    if options.ca_file is None:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=options.ca_file)
    return context


def _with_client_certificate(options: HttpOptions) -> ssl.SSLContext | None:
    if options.client_certificate_file is None or not options.url.startswith("https://"):
        return None
    context = ssl.create_default_context()
    if options.ca_file is not None:
        context.load_verify_locations(cafile=options.ca_file)
    context.load_cert_chain(options.client_certificate_file, options.client_key_file)
    return context
