"""What Linux says of a thread that wants a processor."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from sidecar.process import ProcessorWait

BURN = "import time\nwhile True: time.process_time()"


def burn(seconds: float) -> float:
    """Wall seconds that so much processor time takes this thread."""
    started, until = time.monotonic(), time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return time.monotonic() - started


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="Linux does not count here")
def test_waiting_for_a_processor_is_counted() -> None:
    found: dict[str, float] = {}

    def watched() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this thread alone
        with contextlib.closing(ProcessorWait()) as wait:
            command = [sys.executable, "-c", BURN]
            rival = subprocess.Popen(command)  # on the same processor: it inherits that
            try:
                before = wait.seconds()
                found["wall"] = burn(0.3)
                found["waited"] = wait.seconds() - before
            finally:
                rival.kill()
                rival.wait()

    thread = threading.Thread(target=watched)
    thread.start()
    thread.join()
    assert 0 < found["waited"] <= found["wall"]
