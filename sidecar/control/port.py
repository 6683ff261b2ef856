"""The control port: health and metrics. `sidecar.middleware.api_key_check` guards its other paths."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from reducto.oci.registry_errors import RegistryError
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.supervisor import Supervisor

#: A condition of readiness: returns why it does not hold, or an empty text when it holds.
Check = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class Health:
    """The state that the probes report."""

    checks: dict[str, Check] = field(default_factory=dict)
    background: Supervisor | None = None
    """The background tasks; None until they run."""
    started: bool = False
    """Whether the ports are open and the background tasks run."""
    draining: bool = False
    """Whether the process was asked to end."""

    async def report(self) -> dict[str, str]:
        """The conditions that do not hold, by name, with the reason; empty when the sidecar is ready.

        Background tasks that clients depend on are among them while they keep failing.
        """
        problems = {} if self.started else {"startup": "still starting"}
        if self.draining:
            problems["draining"] = "the process is stopping"
        for name, check in self.checks.items():
            try:
                reason = await check()
            except (RegistryError, OSError) as error:
                reason = str(error) or type(error).__name__
            if reason:
                problems[name] = reason
        if self.background is not None:
            problems |= self.background.failing(needed_to_serve=True)
        return problems

    def warnings(self) -> dict[str, str]:
        """Other background tasks that keep failing, by name, with the reason. Clients are served as ever."""
        return self.background.failing(needed_to_serve=False) if self.background is not None else {}


def build_control(health: Health, metrics: Metrics, refresh: Callable[[], None]) -> web.Application:
    """The application of the control port. ``refresh`` updates the gauges, and is called before each scrape."""
    app = web.Application()

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def startup(_: web.Request) -> web.Response:
        return web.json_response({"started": health.started}, status=200 if health.started else 503)

    async def ready(_: web.Request) -> web.Response:
        problems = await health.report()
        document = {"ready": not problems, "problems": problems, "warnings": health.warnings()}
        return web.json_response(document, status=503 if problems else 200)

    async def exposition(_: web.Request) -> web.Response:
        refresh()
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_get("/health", ready)
    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", ready)
    app.router.add_get("/health/startup", startup)
    app.router.add_get("/metrics", exposition)
    return app


def disk_check(folder: str, least_free_bytes: int, offload: Offload) -> Check:
    """The condition that the file system of ``folder`` has this much free space."""

    async def check() -> str:
        free = (await offload.io(shutil.disk_usage, folder)).free
        return "" if free >= least_free_bytes else f"{folder} has {free} bytes free, {least_free_bytes} are needed"

    return check
