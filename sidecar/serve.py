"""Runs a sidecar: two ports, background work, a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.config import Config
from sidecar import logs
from sidecar.app import MakeCodec, Sidecar, build, reducto_codec
from sidecar.seal import Seal

_HOUSEKEEPING_SECONDS = 15.0
_LAG_SECONDS = 0.05


@dataclass(slots=True)
class Running:
    """A sidecar with its ports open."""

    sidecar: Sidecar
    data_port: int
    control_port: int
    _runners: list[web.AppRunner]
    _tasks: list[asyncio.Task[None]]

    async def stop(self) -> None:
        """Not ready any more; transfers may end within the drain time; then everything is closed."""
        sidecar = self.sidecar
        sidecar.health.draining = True
        logs.event("draining", uploads=len(sidecar.sessions))
        deadline = asyncio.get_running_loop().time() + sidecar.config.limits.drain_timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await sidecar.idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for runner in self._runners:
            await runner.cleanup()
        await sidecar.close()
        logs.event("stopped")


async def start(
    config: Config,
    make_codec: MakeCodec = reducto_codec,
    seal: Seal | None = None,
    middlewares: Sequence[Middleware] = (),
    data_runner: Callable[[web.Application], web.AppRunner] | None = None,
) -> Running:
    """Opens both ports. The caller awaits `Running.stop`."""
    sidecar = await build(config, make_codec, seal)
    runners: list[web.AppRunner] = []
    try:
        listen = config.listen
        data = (data_runner or _runner)(sidecar.data_app(middlewares))
        data_port = await _open(data, listen.address, listen.data_port, runners)
        control = _runner(sidecar.control_app())
        control_port = await _open(control, listen.address, listen.control_port, runners)
    except BaseException:
        for runner in runners:
            await runner.cleanup()
        await sidecar.close()
        raise
    tasks = [asyncio.create_task(_housekeeping(sidecar)), asyncio.create_task(_watch_lag(sidecar))]
    sidecar.health.started = True
    logs.event("listening", address=listen.address, data_port=data_port, control_port=control_port)
    return Running(sidecar, data_port, control_port, runners, tasks)


def run(config: Config) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code. The command line's way in."""
    logs.configure(config.logging.level, config.logging.format)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        running = await start(config)
        await stop.wait()
        await running.stop()

    asyncio.run(main())
    return 0


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=75.0,
        max_line_size=16 << 10,
        max_field_size=64 << 10,
        # An upload's body may wait in the kernel rather than in our memory.
        read_bufsize=1 << 18,
        shutdown_timeout=5.0,
    )


async def _open(runner: web.AppRunner, address: str, port: int, runners: list[web.AppRunner]) -> int:
    await runner.setup()
    runners.append(runner)
    site = web.TCPSite(runner, address, port, backlog=1024)
    await site.start()
    found: int = runner.addresses[0][1]
    return found


async def _housekeeping(sidecar: Sidecar) -> None:
    while True:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        with contextlib.suppress(OSError):
            await sidecar.sessions.expire()


async def _watch_lag(sidecar: Sidecar) -> None:
    """Measures how late the event loop comes round: it must never be blocked for long."""
    worst = 0.0
    while True:
        before = time.monotonic()
        await asyncio.sleep(_LAG_SECONDS)
        lag = max(0.0, time.monotonic() - before - _LAG_SECONDS)
        worst = max(worst, lag)
        sidecar.metrics.loop_lag.set(lag)
        sidecar.metrics.loop_lag_worst.set(worst)
