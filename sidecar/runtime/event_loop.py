"""Measures how late the event loop comes back to a task that is ready to run."""

from __future__ import annotations

import asyncio
import contextlib
import time

from sidecar.runtime.metrics import Metrics
from sidecar.runtime.process import CpuWait

_SLEEP_SECONDS = 0.05
#: Steal time shows only at a processor's next clock tick (4 or 10 ms), so the measure waits for this long first.
_TICK_SECONDS = 0.012


async def measure_delay(metrics: Metrics) -> None:
    """Sleeps again and again, and reports how much longer than asked each sleep took. Never returns.

    The longest delay is also reported without the time in which the loop's thread had no processor.
    """
    longest = longest_blocked = 0.0
    with contextlib.closing(CpuWait()) as cpu_wait:
        while True:
            before, waits = time.monotonic(), cpu_wait.so_far()
            await asyncio.sleep(_SLEEP_SECONDS)
            delay = max(0.0, time.monotonic() - before - _SLEEP_SECONDS)
            if delay > _TICK_SECONDS:
                await asyncio.sleep(_TICK_SECONDS)
            longest, longest_blocked = max(longest, delay), max(longest_blocked, delay - cpu_wait.since(waits))
            metrics.loop_lag.set(delay)
            metrics.loop_lag_worst.set(longest)
            metrics.loop_blocked_worst.set(longest_blocked)
