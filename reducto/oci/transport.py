"""The one interface to whatever stores blobs and manifests.

It is deliberately narrow: one exchange in the registry API's own words. So passing a request through is the same
call as work of our own (`reducto.oci.client` puts typed operations on top), and a store is exchanged for another by
implementing a single method.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin

from multidict import CIMultiDict

from reducto.oci.paging import next_page
from reducto.oci.registry_errors import UpstreamBroken
from reducto.values import ByteRange

T = TypeVar("T")

PIECE_BYTES = 1 << 20


class DiskWorkers(Protocol):
    """Who makes calls that wait for a disk, so that the event loop does not."""

    async def io(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)``, called on a thread."""


class ThreadWorkers:
    """`DiskWorkers` on the event loop's own threads, for programs without a pool of their own."""

    async def io(self, function: Callable[..., T], *args: Any) -> T:
        """The result of ``function(*args)``. A cancelled caller leaves only when the call has ended."""
        call = asyncio.ensure_future(asyncio.to_thread(function, *args))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([call])
            raise


class TransferObserver:
    """Is told what is exchanged with a registry. This one ignores it; subclasses count."""

    def answered(self, method: str, status: int) -> None:
        """The registry answered a request."""

    def failed(self, kind: str) -> None:
        """The registry never answered a request; ``kind`` is the class of what was raised."""

    def received(self, count_bytes: int) -> None:
        """So many bytes of a blob arrived."""

    def sent(self, count_bytes: int) -> None:
        """So many bytes of a blob were stored."""


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request is made. Nothing is ever done with anybody else's rights."""

    authorization: str | None = field(default=None, repr=False)
    request_id: str = ""
    client: str = ""
    user_agent: str = ""
    service: bool = False
    """Our own work, which no client asked for: it may use the credentials of the configuration."""


@dataclass(frozen=True, slots=True)
class FileBody:
    """A request body that can be sent again: a range of a file."""

    path: Path
    range: ByteRange


@dataclass(frozen=True, slots=True)
class StreamBody:
    """A request body that can be sent once. ``length`` is in bytes, None when the client did not say."""

    pieces: AsyncIterator[bytes]
    length: int | None


Body = bytes | FileBody | StreamBody


async def body_pieces(body: Body | None, workers: DiskWorkers) -> AsyncIterator[bytes]:
    """The bytes of any body, in order, read by disk workers. Raises `OSError` when a file is too short."""
    if isinstance(body, FileBody):
        at = body.range.start
        while at < body.range.stop:
            # The file is opened for each piece: whoever drops this iterator half-way leaves no handle behind.
            piece = await workers.io(_read_at, body.path, at, min(PIECE_BYTES, body.range.stop - at))
            if not piece:
                raise OSError(f"{body.path} is shorter than {body.range.stop} bytes")
            at += len(piece)
            yield piece
    elif isinstance(body, StreamBody):
        async for piece in body.pieces:
            yield piece
    elif body:
        yield body


def _read_at(path: Path, offset: int, length: int) -> bytes:
    with open(path, "rb", buffering=0) as source:
        source.seek(offset)
        return source.read(length)


@dataclass(frozen=True, slots=True)
class RegistryRequest:
    """One request.

    ``target`` is a path with its query below the registry's address, or the absolute address of something that the
    registry itself named, such as an upload's Location.
    """

    method: str
    target: str
    caller: Caller
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    elsewhere: bool = False
    """Whether the absolute ``target`` is another server than the registry, such as a token server, that is to see the
    caller's credentials. Such an exchange follows no redirect away from the target's origin."""


class RegistryResponse:
    """One answer. Use as an async context manager; the body streams.

    ``method`` and ``url`` are those that were answered in the end, behind redirects. The URL is absolute over HTTP, for
    a local store it is the path that was asked for. ``file`` is set when the body is exactly a range of a local file
    that stays as it is while the response is open, so that it may go out by sendfile.
    """

    file: FileBody | None = None
    method: str = ""
    url: str = ""

    def __init__(self, status: int, headers: CIMultiDict[str]) -> None:
        self.status = status
        self.headers = headers

    @property
    def asked(self) -> str:
        """Method and address for an error's text, without the query, which may hold a signature."""
        return f"{self.method} {self.url.partition('?')[0]}".strip()

    @property
    def location(self) -> str | None:
        """Where the ``Location`` field points, made absolute by `url`; None without one, or when it is no address."""
        try:
            return urljoin(self.url, self.headers["Location"])
        except (KeyError, ValueError):
            return None

    @property
    def next_page(self) -> str | None:
        """The address of the next page of a listing; None at its end."""
        return next_page(self.headers.getall("Link", ()), self.url)

    @property
    def length(self) -> int | None:
        """Content-Length in bytes."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None

    def pieces(self) -> AsyncIterator[bytes]:
        """The body. Raises `ConnectionCut` when it ends before its stated length."""
        raise NotImplementedError

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises `UpstreamBroken` when it is longer than ``limit_bytes``."""
        out = bytearray()
        async for piece in self.pieces():
            out += piece
            if len(out) > limit_bytes:
                raise UpstreamBroken(f"the registry's answer is longer than {limit_bytes} bytes")
        return bytes(out)

    async def close(self) -> None:
        """Gives the connection back (or drops it when the body was not read)."""

    async def __aenter__(self) -> RegistryResponse:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class ConnectionCut(ConnectionError):
    """The registry broke the connection before the body was complete."""


class Transport(Protocol):
    """A store of blobs and manifests behind the registry API."""

    async def send(self, request: RegistryRequest) -> RegistryResponse:
        """The answer. Raises `Unavailable` when there is none."""

    async def ping(self) -> None:
        """Returns when the registry answers at all. Raises `Unavailable`."""

    async def close(self) -> None:
        """Ends connections."""
