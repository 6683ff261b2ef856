"""The one interface to whatever stores blobs and manifests.

It is deliberately narrow: one exchange in the registry API's own words. So passing a request through is the same
call as our own work (`sidecar.upstream.client` puts typed operations on top), and a store is exchanged by
implementing a single method.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from multidict import CIMultiDict

from reducto.oci.errors import UpstreamBroken
from reducto.values import ByteRange
from sidecar.runtime.offload import Offload

PIECE_BYTES = 1 << 20


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


async def body_pieces(body: Body | None, offload: Offload) -> AsyncIterator[bytes]:
    """The bytes of any body, in order, read by disk workers. Raises `OSError` when a file is too short."""
    if isinstance(body, FileBody):
        at = body.range.start
        while at < body.range.stop:
            # Opened for each piece: whoever drops this iterator half-way leaves no handle behind.
            piece = await offload.io(_read_at, body.path, at, min(PIECE_BYTES, body.range.stop - at))
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
class UpstreamRequest:
    """One request. ``target`` is a path with its query, or a Location that the upstream itself gave out."""

    method: str
    target: str
    caller: Caller
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None


class UpstreamResponse:
    """One answer. Use as an async context manager; the body streams.

    ``file`` is set when the body is exactly a range of a local file that stays as it is while the response is
    open, so that it may go out by sendfile.
    """

    file: FileBody | None = None

    def __init__(self, status: int, headers: CIMultiDict[str]) -> None:
        self.status = status
        self.headers = headers

    @property
    def length(self) -> int | None:
        """Content-Length in bytes."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None

    def pieces(self) -> AsyncIterator[bytes]:
        """The body. Raises `UpstreamCut` when it ends before its stated length."""
        raise NotImplementedError

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises `UpstreamBroken` when it is longer than ``limit_bytes``."""
        out = bytearray()
        async for piece in self.pieces():
            out += piece
            if len(out) > limit_bytes:
                raise UpstreamBroken(f"the upstream's answer is longer than {limit_bytes} bytes")
        return bytes(out)

    async def close(self) -> None:
        """Gives the connection back (or drops it when the body was not read)."""

    async def __aenter__(self) -> UpstreamResponse:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class UpstreamCut(ConnectionError):
    """The upstream broke the connection before the body was complete."""


class Upstream(Protocol):
    """A store of blobs and manifests behind the registry API."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """The answer. Raises `Unavailable` when there is none."""

    async def ping(self) -> None:
        """Returns when the upstream answers at all. Raises `Unavailable`."""

    async def close(self) -> None:
        """Ends connections."""
