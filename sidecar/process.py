"""What the whole process is set to before it serves."""

from __future__ import annotations

import ctypes
import gc
import sys

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
