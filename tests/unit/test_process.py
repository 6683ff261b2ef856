"""How long a thread that could have run had no processor, as Linux counts it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sidecar.runtime import process
from sidecar.runtime.process import CpuWait

BURN = "import time\nwhile True: time.process_time()"


def burn(seconds: float) -> float:
    """Computes for ``seconds`` of processor time; returns the wall seconds that this took."""
    started, until = time.monotonic(), time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return time.monotonic() - started


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="Linux does not count here")
def test_waiting_for_a_processor_is_counted() -> None:
    found: dict[str, float] = {}

    def watched() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # affects this thread alone
        with contextlib.closing(CpuWait()) as wait:
            command = [sys.executable, "-c", BURN]
            rival = subprocess.Popen(command)  # the child inherits the affinity, so it competes for the same processor
            try:
                before = wait.so_far()
                found["wall"] = burn(0.3)
                found["waited"] = wait.since(before)
            finally:
                rival.kill()
                rival.wait()

    thread = threading.Thread(target=watched)
    thread.start()
    thread.join()
    assert 0 < found["waited"] <= found["wall"]


@pytest.mark.parametrize("task_clock", [True, False])
def test_computing_is_not_counted(task_clock: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not task_clock:  # as where perf_event_open is forbidden
        monkeypatch.setattr(process, "_OPEN_EVENT", {})
    with contextlib.closing(CpuWait(os.devnull)) as wait:
        started, before = time.monotonic(), wait.so_far()
        burn(0.3)
        waited, wall = wait.since(before), time.monotonic() - started
        assert waited <= wall - 0.3 + 0.01 * wall


def test_steal_time_counts_for_the_processor_that_lost_most(tmp_path: Path) -> None:
    machine = tmp_path / "stat"

    def tell(*stolen: int) -> None:
        lines = [f"cpu{number} 9 9 9 9 9 9 9 {ticks} 0 0" for number, ticks in enumerate(stolen)]
        machine.write_text("\n".join([f"cpu  9 9 9 9 9 9 9 {sum(stolen)} 0 0", *lines, "intr 9 9 9 9 9 9 9 9 9"]))

    tell(100, 200)
    with contextlib.closing(CpuWait(str(machine))) as wait:
        before = wait.so_far()
        tell(300, 250)
        ticks = os.sysconf("SC_CLK_TCK")
        assert wait.since(before) == pytest.approx(200 / ticks)
        assert wait.since(wait.so_far()) < 200 / ticks
