"""What the whole process is set to before it serves."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading

# Most threads run C code and come back for moments: the event loop must not wait five milliseconds for each.
_SWITCH_SECONDS = 0.0005
# glibc's mallopt(3). By itself it keeps a heap for every thread, and what was freed from them it keeps as well.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_TRIM_BYTES, _MMAP_BYTES, _ARENAS = 16 << 20, 1 << 20, 2


def settle() -> None:
    """After the start: what exists now stays, and the garbage collector need not look at it again and again.

    It looks at everything while all threads wait; at the modules alone for a tenth of a second.
    """
    gc.collect()
    gc.freeze()


def tune() -> None:
    """Gives the event loop its turns, and freed memory back to the system where the C library is glibc."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in ((_ARENA_MAX, _ARENAS), (_MMAP_THRESHOLD, _MMAP_BYTES), (_TRIM_THRESHOLD, _TRIM_BYTES)):
            mallopt(name, value)


class ProcessorWait:
    """How long the thread that makes it was ready to run and got no processor, as Linux counts it.

    That is a busy machine's doing and not ours. Elsewhere it is 0.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)

    def seconds(self) -> float:
        """Up to now (proc(5), schedstat: the second number, in nanoseconds)."""
        if self._descriptor is None:
            return 0.0
        return int(os.pread(self._descriptor, 128, 0).split()[1]) / 1e9

    def close(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
