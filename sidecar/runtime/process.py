"""What the whole process is set to before it serves."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import struct
import sys
import threading

# Most threads run C code and come back for moments: the event loop must not wait five milliseconds for each.
_SWITCH_SECONDS = 0.0005
# glibc's mallopt(3). By itself it keeps a heap for every thread, and what was freed from them it keeps as well.
# Buffers from a MiB on are mapped anew each time. That costs page faults and saves memory: with eight layers at once a
# threshold of 8 MiB took 784 MiB where 1 MiB took 500 to 570.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_TRIM_BYTES, _MMAP_BYTES, _ARENAS = 16 << 20, 1 << 20, 2
#: Of /proc/stat: enough for the lines of a thousand processors, which come first.
_STAT_BYTES = 128 << 10
_TICKS = os.sysconf("SC_CLK_TCK")
# perf_event_open(2): its number, and an event of the kind PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK. Kernel and
# hypervisor are left out (the last two bits): so anybody may have it of his own threads. This clock counts all anyway.
_OPEN_EVENT = {"x86_64": 298, "aarch64": 241}
_TASK_CLOCK = struct.pack("<IIQQQQQ16x", 1, 64, 1, 0, 0, 0, 1 << 5 | 1 << 6)
_CLOSE_ON_EXEC = 1 << 3


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


#: Seconds since their start, as Linux counts them: what a thread waited, then what each processor was taken away.
Waits = tuple[float, ...]


class ProcessorWait:
    """How long the thread that makes it had no processor while it could have run: another thread had it, or the host
    took it away from this virtual machine (steal).

    That is a busy machine's doing and not ours. Outside Linux nothing is counted. To be asked by that thread.
    """

    def __init__(self, machine: str = "/proc/stat") -> None:
        thread = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        self._schedule, self._machine, self._clock = _descriptor(thread), _descriptor(machine), _task_clock()

    def so_far(self) -> Waits:
        """What `since` compares with."""
        return (*self._waited(), *self._stolen())

    def since(self, before: Waits) -> float:
        """Seconds since ``before``: what the thread itself was kept from, or of all processors the one that was away
        longest if that is more, since a thread that waits to be woken does not say by which. Not both: it may be the
        same time."""
        return max((now - then for then, now in zip(before, self.so_far(), strict=False)), default=0.0)

    def close(self) -> None:
        """Idempotent."""
        for descriptor in (self._schedule, self._machine, self._clock):
            if descriptor is not None:
                os.close(descriptor)
        self._schedule = self._machine = self._clock = None

    def _waited(self) -> Waits:
        """proc(5), schedstat: nanoseconds that it ran and that it waited in a queue.

        The host may also take the processor away while the thread is on it. Its task clock goes on then, what it ran
        does not. Both agree to a hundredth otherwise.
        """
        if self._schedule is None:
            return ()
        ran, waited = map(int, os.pread(self._schedule, 128, 0).split()[:2])
        on_processor = int.from_bytes(os.read(self._clock, 8), "little") if self._clock is not None else ran
        return ((waited + on_processor - ran) / 1e9,)

    def _stolen(self) -> Waits:
        """proc(5), stat: of the lines of processors the eighth number, in ticks."""
        if self._machine is None:
            return ()
        lines = os.pread(self._machine, _STAT_BYTES, 0).split(b"\n")
        return tuple(int(line.split()[8]) / _TICKS for line in lines[1:] if line.startswith(b"cpu"))


def _task_clock() -> int | None:
    """How long the calling thread was on a processor, as the machine's clock goes: 8 bytes, nanoseconds, whenever it is
    read. None where that cannot be had: it may be forbidden, as containers' default seccomp profile does."""
    number, call = _OPEN_EVENT.get(platform.machine()), getattr(ctypes.CDLL(None), "syscall", None)
    if not sys.platform.startswith("linux") or number is None or call is None:
        return None
    descriptor: int = call(number, _TASK_CLOCK, 0, -1, -1, _CLOSE_ON_EXEC)
    return descriptor if descriptor >= 0 else None


def _descriptor(path: str) -> int | None:
    with contextlib.suppress(OSError):
        return os.open(path, os.O_RDONLY)
    return None
