"""A port that withstands connections which send nothing, or send it slowly.

aiohttp's handler of a connection, with its parser and task, is made only when the first byte arrives, so 10,000 idle
connections cost little more than their sockets. A connection that has not sent a whole request head within the header
timeout is closed. When there are too many connections, the one that has waited longest without a request is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

#: How often `Connections.sweep` is to be called.
SWEEP_SECONDS = 1.0
#: How many connections wait in the kernel until the event loop accepts them.
_BACKLOG = 1024
_HANDSHAKE_SECONDS = 10.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Connections:
    """The connections of one port. Used on the event loop only."""

    def __init__(self, limit: int, header_timeout_seconds: float) -> None:
        self.limit = limit
        self._header_timeout_seconds = header_timeout_seconds
        self._open: set[_Connection] = set()
        self._waiting: OrderedDict[_Connection, float] = OrderedDict()
        """Connections that have not sent a whole request head, with the time of their start; the oldest is first."""
        self._by_transport: dict[Any, _Connection] = {}
        self.refused = 0
        """How many connections were closed because there were too many, or because they were too slow."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def waiting(self) -> int:
        """How many connections have not sent a whole request head."""
        return len(self._waiting)

    def opened(self, connection: _Connection, transport: asyncio.BaseTransport) -> None:
        """Adds a connection. When there are too many, the one that has waited longest is closed, or this one."""
        if len(self._open) >= self.limit:
            victim = next(iter(self._waiting), connection)
            self.refused += 1
            victim.abort()
            self.closed(victim)
            if victim is connection:
                return
        self._open.add(connection)
        self._by_transport[transport] = connection
        self._waiting[connection] = asyncio.get_running_loop().time()

    def closed(self, connection: _Connection) -> None:
        """Forgets a connection. A second call has no effect."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._by_transport.pop(connection.transport, None)

    def head_received(self, transport: asyncio.BaseTransport | None) -> None:
        """Notes that a connection has sent a whole request head, so that it is not closed for being slow."""
        connection = self._by_transport.get(transport)
        if connection is not None:
            self._waiting.pop(connection, None)

    async def sweep(self) -> None:
        """Closes connections that have been without a whole request head for longer than the header timeout."""
        latest = asyncio.get_running_loop().time() - self._header_timeout_seconds
        while self._waiting:
            connection, since = next(iter(self._waiting.items()))
            if since > latest:
                return
            self.refused += 1
            connection.abort()
            self.closed(connection)

    def close(self) -> None:
        """Closes connections that have no request. aiohttp's runner stops the handlers of the others."""
        for connection in list(self._waiting):
            connection.abort()
            self.closed(connection)


class _Connection(asyncio.Protocol):
    """One connection: passes everything on to aiohttp's handler, which is made when the first byte arrives."""

    __slots__ = ("__weakref__", "_connections", "_handler", "_make_handler", "transport")

    def __init__(self, make_handler: Callable[[], asyncio.Protocol], connections: Connections) -> None:
        self._make_handler = make_handler
        self._connections = connections
        self._handler: asyncio.Protocol | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.opened(self, transport)

    def data_received(self, data: bytes) -> None:
        if self._handler is None:
            assert self.transport is not None
            if self.transport.is_closing():
                return
            self._handler = self._make_handler()
            self._handler.connection_made(self.transport)
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._handler is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        if self._handler is not None:
            self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.resume_writing()

    def abort(self) -> None:
        """Closes the connection at once. Unsent bytes are lost."""
        if self.transport is not None:
            self.transport.abort()


class LimitedSite(web.BaseSite):
    """A TCP port whose connections are counted and limited. It takes the place of `web.TCPSite`."""

    __slots__ = ("_host", "_port", "connections")

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        connections: Connections,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(runner, ssl_context=ssl_context, backlog=_BACKLOG)
        self._host, self._port = host, port
        self.connections = connections

    @property
    def name(self) -> str:
        """The port's address, as aiohttp's sites have it."""
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """Opens the port."""
        await super().start()
        make_handler = self._runner.server
        assert make_handler is not None
        tls: dict[str, Any] = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS} if self._ssl_context else {}
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(make_handler, self.connections),
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            **tls,
        )

    async def stop(self) -> None:
        """Closes the port, and connections that have no request."""
        self.connections.close()
        await super().stop()


def head_noted(connections: Connections) -> Middleware:
    """A middleware that tells ``connections`` about each whole request head, before anything waits for the body."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        connections.head_received(request.transport)
        return await handler(request)

    return middleware
