"""Runs a sidecar: two ports, background work, a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.config import Config
from sidecar.app import MakeCodec, Sidecar, build, reducto_codec
from sidecar.maintenance.idle import look_seconds, when_idle
from sidecar.middleware.connections import Connections, raise_file_limit
from sidecar.middleware.stack import Guards
from sidecar.push.replicas import REFRESH_SECONDS
from sidecar.records.protection import Protector
from sidecar.runtime import logs
from sidecar.runtime.process import ProcessorWait, settle, tune
from sidecar.runtime.supervisor import RESTART_PAUSES, GrowingPauses, Supervisor
from sidecar.runtime.tracing import Tracing

_HOUSEKEEPING_SECONDS = 15.0
_LAG_SECONDS = 0.05
_SETTLE_SECONDS = 0.012
#: Clients that push leave no longer pauses between the requests of an upload.
_SESSION_PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class Running:
    """A sidecar with its ports open."""

    sidecar: Sidecar
    data_port: int
    control_port: int
    _runners: list[web.AppRunner]
    supervisor: Supervisor
    guards: Guards

    async def stop(self) -> None:
        """Not ready any more; transfers may end within the drain time; then everything is closed."""
        sidecar = self.sidecar
        sidecar.runtime.health.draining = True
        logs.event("draining", uploads=len(sidecar.push.sessions))
        deadline = asyncio.get_running_loop().time() + sidecar.config.limits.drain_timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await sidecar.runtime.activity.idle.wait()
                while sidecar.push.replicas.mark and sidecar.push.sessions.busy(_SESSION_PAUSE_SECONDS):
                    await asyncio.sleep(0.2)  # others still pass on what belongs to these sessions
                    await sidecar.runtime.activity.idle.wait()
        await self.supervisor.stop()
        for runner in self._runners:
            await runner.cleanup()
        await sidecar.close()
        await self.guards.close()
        logs.event("stopped")


async def start(
    config: Config,
    make_codec: MakeCodec = reducto_codec,
    protector: Protector | None = None,
    middlewares: Sequence[Middleware] = (),
    pauses: GrowingPauses = RESTART_PAUSES,
) -> Running:
    """Opens both ports. The caller awaits `Running.stop`. ``pauses`` are those of background tasks that fail."""
    sidecar = await build(config, make_codec, protector)
    runners: list[web.AppRunner] = []
    guards: Guards | None = None
    try:
        guards = await sidecar.runtime.offload.io(
            Guards.of, config, sidecar.upstream.protector.signer, sidecar.push.replicas.knows
        )
        sidecar.runtime.health.checks["audit"] = guards.audit_problem
        listen = config.listen
        data = _runner(sidecar.data_app([*guards.data_middlewares(), *middlewares]), config)
        data_port = await _open(guards, data, listen.data_port, guards.data_connections, runners)
        control_app = sidecar.control_app()
        control_app.middlewares.extend(guards.control_middlewares())
        control = _runner(control_app, config)
        control_port = await _open(guards, control, listen.control_port, guards.control_connections, runners)
    except BaseException:
        for runner in runners:
            await runner.cleanup()
        await sidecar.close()
        if guards is not None:
            await guards.close()
        raise
    supervisor = sidecar.runtime.health.background = Supervisor(
        sidecar.runtime.metrics.background_task_failures, pauses
    )
    _start_tasks(sidecar, guards, supervisor)
    sidecar.runtime.health.started = True
    logs.event("listening", address=listen.address, data_port=data_port, control_port=control_port)
    return Running(sidecar, data_port, control_port, runners, supervisor, guards)


def run(config: Config) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code. The command line's way in."""
    logs.configure(config.logging.level, config.logging.format)
    raise_file_limit()
    tune()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        tracing = Tracing(config.tracing) if config.tracing.endpoint else None
        running = await start(config, middlewares=[tracing.middleware()] if tracing else [])
        settle()
        await stop.wait()
        await running.stop()
        if tracing:
            await asyncio.to_thread(tracing.close)

    asyncio.run(main())
    return 0


def _runner(app: web.Application, config: Config) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        logger=logs.protocol_logger(),
        handle_signals=False,
        keepalive_timeout=75.0,
        max_line_size=16 << 10,
        max_field_size=config.limits.header_size,
        # A body is passed on as it came; decompressing it would also be a way to fill our memory.
        auto_decompress=False,
        # An upload's body may wait in the kernel rather than in our memory.
        read_bufsize=1 << 18,
        shutdown_timeout=5.0,
    )


async def _open(
    guards: Guards, runner: web.AppRunner, port: int, connections: Connections, runners: list[web.AppRunner]
) -> int:
    await runner.setup()
    runners.append(runner)
    await guards.site(runner, guards.config.listen.address, port, connections).start()
    found: int = runner.addresses[0][1]
    return found


def _start_tasks(sidecar: Sidecar, guards: Guards, supervisor: Supervisor) -> None:
    """Everything that runs beside the requests for as long as the process does."""
    config = sidecar.config
    supervisor.every("idle-uploads", _HOUSEKEEPING_SECONDS, sidecar.drop_idle_uploads, needed_to_serve=True)
    supervisor.every("hints", _HOUSEKEEPING_SECONDS, sidecar.save_hints)
    supervisor.run("event-loop-delay", partial(_watch_lag, sidecar))
    guards.start_tasks(supervisor)
    if config.corpora and config.corpus.refresh_interval:
        supervisor.every("base-corpora", config.corpus.refresh_interval, sidecar.references.bases.load)
    if sidecar.push.replicas.mark:
        refresh = sidecar.push.replicas.refresh
        supervisor.every("replicas", REFRESH_SECONDS, refresh, at_once=True, needed_to_serve=True)
    if sidecar.push.idle_queue.wanted:
        supervisor.every("recompression", look_seconds(config), partial(when_idle, sidecar))


async def _watch_lag(sidecar: Sidecar) -> None:
    """Measures how late the event loop comes round, and how much of that was not for want of a processor."""
    worst = blocked = 0.0
    with contextlib.closing(ProcessorWait()) as waited:
        while True:
            before, waits = time.monotonic(), waited.so_far()
            await asyncio.sleep(_LAG_SECONDS)
            lag = max(0.0, time.monotonic() - before - _LAG_SECONDS)
            if lag > _SETTLE_SECONDS:  # what the host took is counted when that processor's next tick comes
                await asyncio.sleep(_SETTLE_SECONDS)
            worst, blocked = max(worst, lag), max(blocked, lag - waited.since(waits))
            sidecar.runtime.metrics.loop_lag.set(lag)
            sidecar.runtime.metrics.loop_lag_worst.set(worst)
            sidecar.runtime.metrics.loop_blocked_worst.set(blocked)
