"""Several replicas before one registry: an upload's requests reach the replica that holds its spool.

A session's id begins with a mark of the replica that opened it. Another replica that gets a request for it looks the
mark up among the addresses that the configured names (a headless service) have at the moment, and passes the request
on; nothing in the request itself says where to. A request that was passed on once is answered where it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import socket
import ssl
from dataclasses import replace

from aiohttp import web

from reducto.config import Config, Seconds, UpstreamOptions
from reducto.oci.errors import UploadUnknown
from reducto.oci.http import HttpTransport
from sidecar.api.exchange import Call, relay
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.runtime.upstream import http_options

FORWARDED_HEADER = "X-Reducto-Forwarded"
_MARK_CHARS = 8
#: How often `Replicas.refresh` is to be called.
REFRESH_SECONDS = 10.0
#: A replica that reduces a large layer stays silent for so long before it answers.
_ANSWER_SECONDS = Seconds(1800)


def mark_of(address: str) -> str:
    """What ids of sessions begin with that the replica at ``address`` opened."""
    return hashlib.sha256(b"reducto replica v1\0" + address.encode()).hexdigest()[:_MARK_CHARS]


class Replicas:
    """The other replicas, as the names in ``replicas.peers`` tell. One per process; made by a worker; `close` it."""

    def __init__(self, config: Config, offload: Offload) -> None:
        self._own = _canonical(config.replicas.address or _host_address()) if config.replicas.peers else ""
        self._names = config.replicas.peers if self._own else ()
        self._unknown: set[str] = set()
        self._port = config.listen.data_port
        self._certificate = config.listen.tls.certificate_file
        self._offload = offload
        self._addresses: frozenset[str] = frozenset()
        self._clients: dict[str, tuple[int, HttpTransport]] = {}

    @property
    def mark(self) -> str:
        """What ids of this replica's sessions begin with; empty when it is the only one."""
        return mark_of(self._own) if self._names else ""

    def knows(self, address: str) -> bool:
        """Whether the address was lately a replica's, whose word about its client counts."""
        return address in self._addresses

    def elsewhere(self, call: Call, session_id: str) -> bool:
        """Whether another replica opened the session of an upload's request."""
        return bool(self._names) and not session_id.startswith(self.mark) and FORWARDED_HEADER not in call.headers

    async def forward(self, call: Call, session_id: str) -> web.StreamResponse:
        """The answer of the replica that opened the session. Raises `UploadUnknown` when there is none any more."""
        owner = self._owner(session_id)
        if owner is None:
            await self.refresh()
            owner = self._owner(session_id)
        if owner is None:
            raise UploadUnknown(f"the replica with upload {session_id} is gone; begin anew")
        client = await self._client(owner)
        request = call.upstream_request()
        headers = {**request.headers, FORWARDED_HEADER: self._own}
        async with await client.send(replace(request, headers=headers)) as answer:
            return await relay(call, answer, "", self._offload)

    async def refresh(self) -> None:
        """Brings the addresses up to date, and ends connections to replicas that are gone."""
        found: set[str] = set()
        for name in self._names:
            try:
                loop = asyncio.get_running_loop()
                infos = await loop.getaddrinfo(name, self._port, type=socket.SOCK_STREAM)
                found.update(_canonical(str(info[4][0])) for info in infos)
                self._unknown.discard(name)
            except OSError as error:
                if name not in self._unknown:
                    logs.event("replicas-not-found", name=name, error=str(error)[:200])
                self._unknown.add(name)
        self._addresses = frozenset(found - {self._own})
        for gone in set(self._clients) - found:
            await self._clients.pop(gone)[1].close()

    async def close(self) -> None:
        """Ends connections."""
        for _, client in self._clients.values():
            await client.close()
        self._clients.clear()

    # -- inside

    def _owner(self, session_id: str) -> str | None:
        return next((one for one in self._addresses if session_id.startswith(mark_of(one))), None)

    async def _client(self, address: str) -> HttpTransport:
        """Connections to a replica, with what its certificate is at the moment."""
        stamp = await self._offload.io(self._stamp)
        known = self._clients.get(address)
        if known is not None and known[0] == stamp:
            return known[1]
        if known is not None:
            await known[1].close()
        host = f"[{address}]" if ":" in address else address
        scheme = "https" if self._certificate else "http"
        options = UpstreamOptions(url=f"{scheme}://{host}:{self._port}", retries=0, read_timeout=_ANSWER_SECONDS)
        tls = await self._offload.io(self._tls_context)
        client = HttpTransport(http_options(options), self._offload, tls=tls)
        self._clients[address] = (stamp, client)
        return client

    def _stamp(self) -> int:
        return self._certificate.stat().st_mtime_ns if self._certificate else 0

    def _tls_context(self) -> ssl.SSLContext | None:
        """Replicas show one certificate, made for the name that clients know: it is the only one that is believed."""
        if self._certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cafile=self._certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def _host_address() -> str:
    """In a pod, the pod's. Empty, and said, when there is none: this replica then keeps to itself."""
    try:
        address = str(socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)[0][4][0])
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            return address
        problem = f"this host's name means {address}"
    except OSError as error:
        problem = str(error)[:200]
    logs.event("replicas-without-address", logging.WARNING, problem=problem, remedy="set replicas.address")
    return ""


def _canonical(address: str) -> str:
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(address.partition("%")[0]))
    return address
