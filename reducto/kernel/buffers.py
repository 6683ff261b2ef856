"""What Python does slowly with large buffers, or only while everybody else waits for the interpreter."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import Any

from reducto.errors import Corrupt
from reducto.kernel._lib import Buffer, check, ffi, lib, pointer

# A call of the kernel lets others run, also when it is the end of a buffer: the system takes its pages back one by one.
_uncleared = ffi.new_allocator(lib.rdk_allocate, lib.rdk_release, should_clear_after_alloc=False)


def hold(buffer: Buffer, kind: str = "char[]") -> Any:
    """Keeps the bytes of ``buffer`` where they are as long as the result exists: what C may point to for longer.

    It does so past a memory view, whose object it takes: Python 3.11 crashes when the garbage collector meets a view
    that is in use (gh-77894).
    """
    return ffi.from_buffer(kind, buffer.obj if isinstance(buffer, memoryview) else buffer)


def same_bytes(left: Buffer, right: Buffer) -> bool:
    """Whether two buffers hold the same bytes. Python compares memory views item by item; this does not."""
    return len(left) == len(right) and bool(lib.rdk_equal(pointer(left), pointer(right), len(left)))


def data_runs(buffer: Buffer, block_bytes: int) -> Iterator[tuple[int, int]]:
    """Where ``buffer`` has data: (start, stop) of each longest run of blocks that are not all zeros."""
    native, length, stop = pointer(buffer), len(buffer), ffi.new("uint64_t *")
    at = 0
    while at < length:
        start = lib.rdk_data_run(native, length, block_bytes, at, stop)
        if start < stop[0]:
            yield start, stop[0]
        at = stop[0]


def copy_bytes(source: Buffer, out: bytearray | memoryview) -> None:
    """Copies all of ``source`` to the front of ``out``, which is at least as long; others run meanwhile.

    Both may overlap. Python's own copies keep the interpreter: also while a mapped file is read from disk, and while
    fresh memory is made.
    """
    if len(source) > len(out):
        raise ValueError(f"{len(source)} bytes do not fit into {len(out)}")
    lib.rdk_copy(pointer(out), pointer(source), len(source))


def uncleared(length: int) -> memoryview:
    """``length`` writable bytes of any value: nobody waits while they are cleared."""
    return memoryview(ffi.buffer(_uncleared("uint8_t[]", length)))


def copied(parts: Sequence[Buffer]) -> memoryview:
    """The parts one after the other, copied as `copy_bytes` does."""
    out, at = uncleared(sum(map(len, parts))), 0
    for part in parts:
        copy_bytes(part, out[at:])
        at += len(part)
    return out


def discard_pages(mapping: mmap, start: int, length: int) -> None:
    """Lets pages of a mapped file leave this process's memory; they can still be read. Others run meanwhile.

    ``start`` is a multiple of the page size.
    """
    with ffi.from_buffer("uint8_t[]", mapping) as native:
        lib.rdk_discard_pages(native + start, length)


def leb128_numbers(data: bytes, at: int, count: int) -> tuple[Sequence[int], int]:
    """``count`` LEB128 numbers of at most 64 bits from offset ``at``, and the offset behind them. Raises `Corrupt`."""
    if count > len(data) - at:
        raise Corrupt(f"{count} numbers cannot stand in {len(data) - at} bytes")
    numbers = array("Q", bytes(8 * count))
    native = ffi.from_buffer("uint64_t[]", numbers)
    used = lib.rdk_leb128_take(pointer(data) + at, len(data) - at, native, count)
    return numbers, at + check(used, "reading a table's numbers")
