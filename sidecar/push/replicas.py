"""Several replicas before one registry: requests for an upload reach the replica that has its spool file.

The id of an upload session begins with a mark of the replica that opened it. Another replica that gets a request for
the session compares the mark with the addresses that the configured names (a headless service) resolve to, and forwards
the request. Nothing in the request itself says where to send it. A request that was forwarded once is answered where it
arrives, so that it cannot go in circles.
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
from reducto.oci.http import HttpTransport
from reducto.oci.registry_errors import UploadUnknown
from sidecar.api.exchange import Call, relay
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload
from sidecar.runtime.upstream import http_options

FORWARDED_HEADER = "X-Reducto-Forwarded"
#: How often `Replicas.refresh` is to be called.
REFRESH_SECONDS = 10.0
_MARK_CHARS = 8
#: The read timeout between replicas: a replica that reduces a large layer sends nothing until it is done.
_ANSWER_SECONDS = Seconds(1800)


def mark_of(address: str) -> str:
    """The mark that begins the ids of sessions which the replica at ``address`` opened."""
    return hashlib.sha256(b"reducto replica v1\0" + address.encode()).hexdigest()[:_MARK_CHARS]


class Replicas:
    """The other replicas, found by the names in ``replicas.peers``. One per process; made on a disk worker."""

    def __init__(self, config: Config, offload: Offload) -> None:
        self._own = _canonical(config.replicas.address or _host_address()) if config.replicas.peers else ""
        self._names = config.replicas.peers if self._own else ()
        self._unresolved: set[str] = set()
        self._port = config.listen.data_port
        self._certificate = config.listen.tls.certificate_file
        self._offload = offload
        self._addresses: frozenset[str] = frozenset()
        self._clients: dict[str, tuple[int, HttpTransport]] = {}

    @property
    def mark(self) -> str:
        """The mark of this replica's sessions; empty when it is the only replica."""
        return mark_of(self._own) if self._names else ""

    def knows(self, address: str) -> bool:
        """Whether the address was a replica's at the latest refresh, so that it may name the client's address."""
        return address in self._addresses

    def elsewhere(self, call: Call, session_id: str) -> bool:
        """Whether the request is for another replica, which opened its upload session."""
        return bool(self._names) and not session_id.startswith(self.mark) and FORWARDED_HEADER not in call.headers

    async def forward(self, call: Call, session_id: str) -> web.StreamResponse:
        """The answer of the replica that opened the session. Raises `UploadUnknown` when that replica is gone."""
        owner = self._owner(session_id)
        if owner is None:
            await self.refresh()
            owner = self._owner(session_id)
        if owner is None:
            raise UploadUnknown(f"the replica with upload {session_id} is gone; begin the upload again")
        client = await self._client(owner)
        request = call.upstream_request()
        headers = {**request.headers, FORWARDED_HEADER: self._own}
        async with await client.send(replace(request, headers=headers)) as answer:
            return await relay(call, answer, "", self._offload)

    async def refresh(self) -> None:
        """Resolves the names again, and closes connections to replicas that are gone."""
        found: set[str] = set()
        for name in self._names:
            try:
                loop = asyncio.get_running_loop()
                infos = await loop.getaddrinfo(name, self._port, type=socket.SOCK_STREAM)
                found.update(_canonical(str(info[4][0])) for info in infos)
                self._unresolved.discard(name)
            except OSError as error:
                if name not in self._unresolved:
                    logs.event("replicas-not-found", name=name, error=str(error)[:200])
                self._unresolved.add(name)
        self._addresses = frozenset(found - {self._own})
        for gone in set(self._clients) - found:
            await self._clients.pop(gone)[1].close()

    async def close(self) -> None:
        """Closes all connections to other replicas."""
        for _, client in self._clients.values():
            await client.close()
        self._clients.clear()

    # -- inside

    def _owner(self, session_id: str) -> str | None:
        return next((one for one in self._addresses if session_id.startswith(mark_of(one))), None)

    async def _client(self, address: str) -> HttpTransport:
        """A client of the replica, made again when the certificate file has changed."""
        stamp = await self._offload.io(self._certificate_stamp)
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

    def _certificate_stamp(self) -> int:
        return self._certificate.stat().st_mtime_ns if self._certificate else 0

    def _tls_context(self) -> ssl.SSLContext | None:
        """A TLS context that trusts only the certificate which all replicas share.

        The host name is not checked, because the certificate is made for the name that clients use, and replicas
        connect to addresses.
        """
        if self._certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cafile=self._certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def _host_address() -> str:
    """The address of this host, which in a pod is the pod's.

    Empty, with a line in the log, when there is none: then the replica neither forwards requests nor gets any.
    """
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
