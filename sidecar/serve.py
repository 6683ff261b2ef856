"""Runs a sidecar: opens two ports, starts the background tasks, and ends gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.config import Config
from sidecar.app import MakeCodec, Sidecar, build, reducto_codec
from sidecar.maintenance.idle import look_seconds, when_idle
from sidecar.middleware.connections import Connections
from sidecar.middleware.stack import MiddlewareStack
from sidecar.push.replicas import REFRESH_SECONDS
from sidecar.records.protection import Protector
from sidecar.runtime import logs
from sidecar.runtime.event_loop import measure_delay
from sidecar.runtime.process import freeze_objects, raise_file_limit, tune
from sidecar.runtime.start_message import announce
from sidecar.runtime.supervisor import RESTART_PAUSES, GrowingPauses, Supervisor
from sidecar.runtime.tracing import Tracing

_HOUSEKEEPING_SECONDS = 15.0
#: A client pauses for less than this between the requests of one upload.
_SESSION_PAUSE_SECONDS = 5.0
_DRAIN_POLL_SECONDS = 0.2


@dataclass(slots=True)
class Running:
    """A sidecar with its ports open."""

    sidecar: Sidecar
    data_port: int
    control_port: int
    supervisor: Supervisor
    middleware: MiddlewareStack
    _runners: list[web.AppRunner]

    async def stop(self) -> None:
        """Reports that the sidecar is not ready, lets transfers end within the drain time, then closes everything."""
        sidecar = self.sidecar
        sidecar.runtime.health.draining = True
        logs.event("draining", uploads=len(sidecar.push.sessions))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(sidecar.config.limits.drain_timeout):
                await _drained(sidecar)
        await self.supervisor.stop()
        for runner in self._runners:
            await runner.cleanup()
        await sidecar.close()
        await self.middleware.close()
        logs.event("stopped")


async def start(
    config: Config,
    make_codec: MakeCodec = reducto_codec,
    protector: Protector | None = None,
    middlewares: Sequence[Middleware] = (),
    pauses: GrowingPauses = RESTART_PAUSES,
) -> Running:
    """Opens both ports and starts the background tasks. The caller awaits `Running.stop`.

    ``middlewares`` are added inside those of the data port. ``pauses`` are those of background tasks that fail.
    """
    sidecar = await build(config, make_codec, protector)
    runtime = sidecar.runtime
    runners: list[web.AppRunner] = []
    stack: MiddlewareStack | None = None
    try:
        signer, knows = sidecar.upstream.protector.signer, sidecar.push.replicas.knows
        stack = await runtime.offload.io(MiddlewareStack.of, config, signer, knows)
        runtime.health.checks["audit"] = stack.audit_problem
        data_app = sidecar.data_app([*stack.data_middlewares(), *middlewares])
        data_port = await _open(data_app, config, config.listen.data_port, stack, stack.data_connections, runners)
        control_app, connections = sidecar.control_app(), stack.control_connections
        control_app.middlewares.extend(stack.control_middlewares())
        control_port = await _open(control_app, config, config.listen.control_port, stack, connections, runners)
    except BaseException:
        for runner in runners:
            await runner.cleanup()
        await sidecar.close()
        if stack is not None:
            await stack.close()
        raise
    supervisor = runtime.health.background = Supervisor(runtime.metrics.background_task_failures, pauses)
    _start_tasks(sidecar, stack, supervisor)
    runtime.health.started = True
    return Running(sidecar, data_port, control_port, supervisor, stack, runners)


def run(config: Config) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code. The command line calls this."""
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
        announce(config, running.data_port, running.control_port)
        freeze_objects()
        await stop.wait()
        await running.stop()
        if tracing:
            await asyncio.to_thread(tracing.close)

    asyncio.run(main())
    return 0


async def _drained(sidecar: Sidecar) -> None:
    """Returns when no request is in flight, and no other replica is likely to forward one."""
    idle, push = sidecar.runtime.activity.idle, sidecar.push
    await idle.wait()
    while push.replicas.mark and push.sessions.busy(_SESSION_PAUSE_SECONDS):
        await asyncio.sleep(_DRAIN_POLL_SECONDS)
        await idle.wait()


async def _open(
    app: web.Application,
    config: Config,
    port: int,
    stack: MiddlewareStack,
    connections: Connections,
    runners: list[web.AppRunner],
) -> int:
    """Opens a port for the application; returns its number, which differs from ``port`` if that is 0."""
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=logs.protocol_logger(),
        handle_signals=False,
        keepalive_timeout=75.0,
        max_line_size=16 << 10,
        max_field_size=config.limits.header_size,
        # A body is passed on as it came. Decompressing it would also let a client fill the sidecar's memory.
        auto_decompress=False,
        # Bytes of a body beyond this wait in the kernel's buffers, not in the sidecar's memory.
        read_bufsize=1 << 18,
        shutdown_timeout=5.0,
    )
    await runner.setup()
    runners.append(runner)
    await stack.site(runner, config.listen.address, port, connections).start()
    found: int = runner.addresses[0][1]
    return found


def _start_tasks(sidecar: Sidecar, stack: MiddlewareStack, supervisor: Supervisor) -> None:
    """Starts everything that runs beside the requests for as long as the process does."""
    config = sidecar.config
    supervisor.every("idle-uploads", _HOUSEKEEPING_SECONDS, sidecar.drop_idle_uploads, needed_to_serve=True)
    supervisor.every("hints", _HOUSEKEEPING_SECONDS, sidecar.save_hints)
    supervisor.run("event-loop-delay", partial(measure_delay, sidecar.runtime.metrics))
    stack.start_tasks(supervisor)
    if config.corpora and config.corpus.refresh_interval:
        supervisor.every("base-corpora", config.corpus.refresh_interval, sidecar.references.bases.load)
    if sidecar.push.replicas.mark:
        refresh = sidecar.push.replicas.refresh
        supervisor.every("replicas", REFRESH_SECONDS, refresh, at_once=True, needed_to_serve=True)
    if sidecar.push.idle_queue.wanted:
        supervisor.every("recompression", look_seconds(config), partial(when_idle, sidecar))
