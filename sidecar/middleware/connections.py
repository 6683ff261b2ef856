"""Listens on a port, and holds out against connections that say nothing, or say it slowly.

An HTTP handler with its parser and task is made when a connection's first byte arrives, so that ten thousand idle
connections cost little more than their sockets. Whoever has not sent a whole request head within the header timeout is
closed; so is, when there are too many connections, the one that has waited longest without a request.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

#: How often `Connections.sweep` is to be called.
SWEEP_SECONDS = 1.0
_BACKLOG = 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Connections:
    """All connections of one port. Used on the event loop only."""

    def __init__(self, limit: int, header_timeout_seconds: float) -> None:
        self.limit = limit
        self._header_timeout_seconds = header_timeout_seconds
        self._open: set[_Guard] = set()
        self._waiting: OrderedDict[_Guard, float] = OrderedDict()
        """Connections without a whole request head yet, and since when; the longest first."""
        self._guards: dict[Any, _Guard] = {}
        self.refused = 0
        """Connections closed because there were too many, or because they were too slow."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def waiting(self) -> int:
        """Connections that have not yet sent a whole request head."""
        return len(self._waiting)

    def opened(self, guard: _Guard, transport: asyncio.BaseTransport) -> None:
        """Takes a connection in, at the cost of the longest waiting one when there are too many."""
        if len(self._open) >= self.limit:
            victim = next(iter(self._waiting), guard)
            self.refused += 1
            victim.abort()
            self.closed(victim)
            if victim is guard:
                return
        self._open.add(guard)
        self._guards[transport] = guard
        self._waiting[guard] = asyncio.get_running_loop().time()

    def closed(self, guard: _Guard) -> None:
        """Forgets a connection. Idempotent."""
        self._open.discard(guard)
        self._waiting.pop(guard, None)
        self._guards.pop(guard.transport, None)

    def head_received(self, transport: asyncio.BaseTransport | None) -> None:
        """A request's handler runs: this connection is honest."""
        guard = self._guards.get(transport)
        if guard is not None:
            self._waiting.pop(guard, None)

    async def sweep(self) -> None:
        """Closes connections that have waited too long."""
        oldest = asyncio.get_running_loop().time() - self._header_timeout_seconds
        while self._waiting:
            guard, since = next(iter(self._waiting.items()))
            if since > oldest:
                return
            self.refused += 1
            guard.abort()
            self.closed(guard)

    def close(self) -> None:
        """Closes those that have no request: the handlers of the others are the runner's to stop."""
        for guard in list(self._waiting):
            guard.abort()
            self.closed(guard)


class _Guard(asyncio.Protocol):
    """Stands before aiohttp's handler of one connection, and makes that when it is needed."""

    __slots__ = ("__weakref__", "_connections", "_inner", "_make_inner", "transport")

    def __init__(self, make_inner: Callable[[], asyncio.Protocol], connections: Connections) -> None:
        self._make_inner = make_inner
        self._connections = connections
        self._inner: asyncio.Protocol | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.opened(self, transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            assert self.transport is not None
            if self.transport.is_closing():
                return
            self._inner = self._make_inner()
            self._inner.connection_made(self.transport)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class GuardedSite(web.BaseSite):
    """A TCP port whose connections are guarded. Takes the place of `web.TCPSite`."""

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
        """The address, for logs."""
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """Opens the port."""
        await super().start()
        make_inner = self._runner.server
        assert make_inner is not None
        tls: dict[str, Any] = {"ssl_handshake_timeout": 10.0} if self._ssl_context else {}
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Guard(make_inner, self.connections),
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            **tls,
        )

    async def stop(self) -> None:
        """Closes the port and idle connections."""
        self.connections.close()
        await super().stop()


def counted(connections: Connections) -> Middleware:
    """Tells the guard that a connection has sent a whole request head. The outermost middleware."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        connections.head_received(request.transport)
        return await handler(request)

    return middleware


def raise_file_limit() -> int:
    """Lifts the process's soft limit of open files to its hard limit; returns it. Every connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
