"""What stands before the two applications: addresses, limits, the audit log, API keys, TLS, guarded ports.

Built once from the configuration; `sidecar.serve` puts it around the applications.
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
from sidecar.middleware import access, tls
from sidecar.middleware.access import ApiKeyFile, guarded
from sidecar.middleware.audit import audit_control, audited
from sidecar.middleware.audit_log import AuditLog
from sidecar.middleware.client_address import ClientAddresses
from sidecar.middleware.connections import SWEEP_SECONDS, Connections, GuardedSite, counted
from sidecar.middleware.rate_limits import RateLimiter, limited
from sidecar.middleware.tls import ReloadingTls
from sidecar.runtime import logs
from sidecar.runtime.supervisor import Supervisor

_CONTROL_CONNECTIONS = 256


@dataclass(slots=True)
class Guards:
    """All guards of a running sidecar."""

    config: Config
    clients: ClientAddresses
    limiter: RateLimiter
    data_connections: Connections
    control_connections: Connections
    api_keys: ApiKeyFile
    audit_log: AuditLog | None
    tls: ReloadingTls | None

    @classmethod
    def of(cls, config: Config, signer: Signer | None, is_replica: Callable[[str], bool] = lambda _: False) -> Guards:
        """The guards that the configuration asks for. Reads and opens files: for a worker. Raises `UsageError`."""
        limits, security, tls = config.limits, config.security, config.listen.tls
        reloading = None
        if tls.certificate_file and tls.key_file:
            reloading = ReloadingTls(tls.certificate_file, tls.key_file)
        return cls(
            config,
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
        """Around the registry API, outermost first."""
        audit = [audited(self.audit_log, self.clients)] if self.audit_log else []
        return [counted(self.data_connections), *audit, limited(self.limiter, self.clients)]

    def control_middlewares(self) -> list[Middleware]:
        """Around the control port."""
        if self.audit_log is None:
            return [counted(self.control_connections), guarded(self.api_keys, self.clients)]
        audit = audit_control(self.audit_log, self.clients)
        return [counted(self.control_connections), guarded(self.api_keys, self.clients, audit)]

    def site(self, runner: web.AppRunner, address: str, port: int, connections: Connections) -> GuardedSite:
        """A port for an application."""
        return GuardedSite(runner, address, port, connections, self._context())

    def start_tasks(self, supervisor: Supervisor) -> None:
        """What runs beside the ports: slow connections are closed, files are read again when they change."""
        for port, connections in (("data", self.data_connections), ("control", self.control_connections)):
            supervisor.every(f"{port}-connections", SWEEP_SECONDS, connections.sweep, needed_to_serve=True)
        supervisor.every("api-keys", access.RELOAD_SECONDS, self.api_keys.reload_logged)
        if self.tls is not None:
            supervisor.every("certificate", tls.RELOAD_SECONDS, self.tls.reload_logged)

    async def audit_problem(self) -> str:
        """A condition of readiness: why the audit log cannot be written."""
        return self.audit_log.problem if self.audit_log else ""

    async def close(self) -> None:
        """Writes what is left of the audit log."""
        if self.audit_log is not None:
            await asyncio.to_thread(self.audit_log.close)

    def _context(self) -> ssl.SSLContext | None:
        return self.tls.context if self.tls else None
