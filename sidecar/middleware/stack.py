"""Everything between the network and the two applications, built once from the configuration.

That is TLS, connection limits, rate limits, the audit log and API keys. `sidecar.serve` puts them around the
applications.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.config import Config
from reducto.trust.signatures import Signer
from sidecar.middleware import api_key_check, tls
from sidecar.middleware.api_key_check import ApiKeyFile, key_required
from sidecar.middleware.audit_events import audit_control, audited
from sidecar.middleware.audit_log import AuditLog
from sidecar.middleware.client_address import ClientAddresses
from sidecar.middleware.connections import SWEEP_SECONDS, Connections, LimitedSite, head_noted
from sidecar.middleware.rate_limits import RateLimiter, rate_limited
from sidecar.middleware.tls import ReloadingTls
from sidecar.runtime import logs
from sidecar.runtime.supervisor import Supervisor

#: The most connections that the control port has at once; those of the data port are configured.
_CONTROL_CONNECTIONS = 256


@dataclass(slots=True)
class MiddlewareStack:
    """The middlewares and limits of both ports of a running sidecar."""

    clients: ClientAddresses
    limiter: RateLimiter
    data_connections: Connections
    control_connections: Connections
    api_keys: ApiKeyFile
    audit_log: AuditLog | None
    tls: ReloadingTls | None

    @classmethod
    def of(cls, config: Config, signer: Signer | None, is_replica: Callable[[str], bool]) -> MiddlewareStack:
        """The stack that the configuration asks for. Reads and opens files, so it is called on a worker.

        ``is_replica`` says whether an address is that of another sidecar. Raises `UsageError`.
        """
        limits, security, tls = config.limits, config.security, config.listen.tls
        reloading = None
        if tls.certificate_file and tls.key_file:
            reloading = ReloadingTls(tls.certificate_file, tls.key_file)
        return cls(
            ClientAddresses(security.access.trusted_proxies, is_replica),
            RateLimiter(limits.requests_per_second, limits.burst),
            Connections(limits.connections, limits.header_timeout),
            Connections(_CONTROL_CONNECTIONS, limits.header_timeout),
            ApiKeyFile(security.access.api_keys_file),
            AuditLog.open(
                security.audit.file,
                security.audit.stdout,
                signer,
                max_file_bytes=security.audit.max_file_size,
                checkpoint_seconds=security.audit.checkpoint_interval,
                on_trouble=lambda error: logs.trouble("audit-log-not-written", error),
            ),
            reloading,
        )

    def data_middlewares(self) -> list[Middleware]:
        """The middlewares of the registry API, outermost first."""
        audit = [audited(self.audit_log, self.clients)] if self.audit_log else []
        return [head_noted(self.data_connections), *audit, rate_limited(self.limiter, self.clients)]

    def control_middlewares(self) -> list[Middleware]:
        """The middlewares of the control port, outermost first."""
        if self.audit_log is None:
            return [head_noted(self.control_connections), key_required(self.api_keys, self.clients)]
        audit = audit_control(self.audit_log, self.clients)
        return [head_noted(self.control_connections), key_required(self.api_keys, self.clients, audit)]

    def site(self, runner: web.AppRunner, address: str, port: int, connections: Connections) -> LimitedSite:
        """A port for an application; it is opened by ``start()``."""
        return LimitedSite(runner, address, port, connections, self._context())

    def start_tasks(self, supervisor: Supervisor) -> None:
        """Starts the background tasks that close slow connections, and read files again when they change."""
        for port, connections in (("data", self.data_connections), ("control", self.control_connections)):
            supervisor.every(f"{port}-connections", SWEEP_SECONDS, connections.sweep, needed_to_serve=True)
        supervisor.every("api-keys", api_key_check.RELOAD_SECONDS, self.api_keys.reload_logged)
        if self.tls is not None:
            supervisor.every("certificate", tls.RELOAD_SECONDS, self.tls.reload_logged)

    async def audit_problem(self) -> str:
        """Why the audit log cannot be written, as a condition of readiness; empty when it can."""
        return self.audit_log.problem if self.audit_log else ""

    async def close(self) -> None:
        """Writes what is queued for the audit log, and closes it."""
        if self.audit_log is not None:
            await asyncio.to_thread(self.audit_log.close)

    def _context(self) -> ssl.SSLContext | None:
        return self.tls.context if self.tls else None
