"""Settings of the whole process, and what Linux says about the processors that it got."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import resource
import struct
import sys
import threading

#: How long a thread may keep the interpreter's lock while another one waits for it; Python's default is 5 ms. Most
#: threads run C code without the lock and need it for moments, and the event loop must not wait 5 ms for each of them.
_SWITCH_SECONDS = 0.0005
# Parameters of glibc's mallopt(3). Without them glibc keeps a heap for each thread, and also what was freed on it.
# Buffers of 1 MiB or more are mapped anew each time. That costs page faults and saves memory: with eight layers at once
# a threshold of 8 MiB took 784 MiB, one of 1 MiB took 500 to 570 MiB.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_TRIM_BYTES, _MMAP_BYTES, _ARENAS = 16 << 20, 1 << 20, 2
#: The beginning of /proc/stat that is read. The lines of processors come first, and those of 1,000 fit.
_STAT_BYTES = 128 << 10
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# perf_event_open(2): the number of the system call, and an event of type PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK.
# The last two bits exclude the kernel and the hypervisor, so no privilege is needed for one's own threads. The task
# clock counts all time on a processor nevertheless.
_OPEN_EVENT = {"x86_64": 298, "aarch64": 241}
_TASK_CLOCK = struct.pack("<IIQQQQQ16x", 1, 64, 1, 0, 0, 0, 1 << 5 | 1 << 6)
_CLOSE_ON_EXEC = 1 << 3


def tune() -> None:
    """Gives the event loop the interpreter's lock soon, and freed memory back to the system (where libc is glibc)."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in ((_ARENA_MAX, _ARENAS), (_MMAP_THRESHOLD, _MMAP_BYTES), (_TRIM_THRESHOLD, _TRIM_BYTES)):
            mallopt(name, value)


def freeze_objects() -> None:
    """Excludes every object that exists now from later garbage collections. Call this when the start is complete.

    A collection stops all threads while it looks at each object, which takes 0.1 s for the imported modules alone.
    """
    gc.collect()
    gc.freeze()


def raise_file_limit() -> int:
    """Raises the soft limit of open files to the hard limit, and returns it. Every connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


#: Seconds since boot or thread start: how long the thread waited, then how long the host took each processor away.
Waits = tuple[float, ...]


class CpuWait:
    """Measures how long a thread that could have run had no processor.

    Either another thread had the processor, or the host took it away from this virtual machine (steal time). Neither is
    a delay that the program causes. Outside Linux the measure is always 0. Only the thread that made the object may use
    it.
    """

    def __init__(self, machine: str = "/proc/stat") -> None:
        thread = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        self._schedule, self._machine, self._clock = _descriptor(thread), _descriptor(machine), _task_clock()

    def so_far(self) -> Waits:
        """The counters now, for a later call of `since`."""
        return (*self._waited(), *self._stolen())

    def since(self, before: Waits) -> float:
        """Seconds of CPU wait since ``before``: this thread's delay in the run queue or the largest steal of any
        processor, whichever is more.

        The maximum is taken, not the sum, because both may count the same time. Every processor is looked at, because
        a thread that waits to be woken does not say which one will run it.
        """
        return max((now - then for then, now in zip(before, self.so_far(), strict=False)), default=0.0)

    def close(self) -> None:
        """Closes the files. Later calls have no effect."""
        for descriptor in (self._schedule, self._machine, self._clock):
            if descriptor is not None:
                os.close(descriptor)
        self._schedule = self._machine = self._clock = None

    def _waited(self) -> Waits:
        """Seconds that the thread waited for a processor; empty where the kernel does not count them.

        ``schedstat`` (proc(5)) has the nanoseconds that the thread ran and that it waited in a queue. The host may also
        take the processor away while the thread runs: then its task clock goes on, and the time that it ran does not.
        Otherwise the two agree within 1 %.
        """
        if self._schedule is None:
            return ()
        ran, waited = map(int, os.pread(self._schedule, 128, 0).split()[:2])
        on_processor = int.from_bytes(os.read(self._clock, 8), "little") if self._clock is not None else ran
        return ((waited + on_processor - ran) / 1e9,)

    def _stolen(self) -> Waits:
        """Seconds that the host took each processor away: the eighth number of its line in ``stat`` (proc(5))."""
        if self._machine is None:
            return ()
        lines = os.pread(self._machine, _STAT_BYTES, 0).split(b"\n")
        return tuple(int(line.split()[8]) / _TICKS_PER_SECOND for line in lines[1:] if line.startswith(b"cpu"))


def _task_clock() -> int | None:
    """A descriptor that reads as the nanoseconds that the calling thread was on a processor, in 8 bytes.

    None where it cannot be had: containers' default seccomp profile, for example, forbids the call.
    """
    number, call = _OPEN_EVENT.get(platform.machine()), getattr(ctypes.CDLL(None), "syscall", None)
    if not sys.platform.startswith("linux") or number is None or call is None:
        return None
    descriptor: int = call(number, _TASK_CLOCK, 0, -1, -1, _CLOSE_ON_EXEC)
    return descriptor if descriptor >= 0 else None


def _descriptor(path: str) -> int | None:
    with contextlib.suppress(OSError):
        return os.open(path, os.O_RDONLY)
    return None
