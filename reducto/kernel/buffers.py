"""Large buffers: what Python does slowly with them, or only while it holds the interpreter's lock (GIL)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import Any

from reducto.errors import Corrupt
from reducto.kernel._lib import Buffer, check, ffi, lib, pointer

# The kernel also frees these buffers, because the system takes pages back one by one, for which the GIL is released.
_uncleared = ffi.new_allocator(lib.rdk_allocate, lib.rdk_release, should_clear_after_alloc=False)


def hold(buffer: Buffer, kind: str = "char[]") -> Any:
    """Keeps the bytes of ``buffer`` at their address as long as the result exists, for pointers that C keeps longer.

    Of a memory view it takes the object behind it, because Python 3.11 crashes when the garbage collector meets a view
    that is in use (gh-77894).
    """
    return ffi.from_buffer(kind, buffer.obj if isinstance(buffer, memoryview) else buffer)


def same_bytes(left: Buffer, right: Buffer) -> bool:
    """Whether two buffers hold the same bytes. Python compares memory views item by item, which is slow."""
    return len(left) == len(right) and bool(lib.rdk_equal(pointer(left), pointer(right), len(left)))


def data_runs(buffer: Buffer, block_bytes: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) of each longest run of blocks of ``block_bytes`` in ``buffer`` that are not all zeros."""
    native, length, stop = pointer(buffer), len(buffer), ffi.new("uint64_t *")
    at = 0
    while at < length:
        start = lib.rdk_data_run(native, length, block_bytes, at, stop)
        if start < stop[0]:
            yield start, stop[0]
        at = stop[0]


def copy_bytes(source: Buffer, out: bytearray | memoryview) -> None:
    """Copies all of ``source`` to the front of ``out``, which is at least as long, without the GIL. Both may overlap.

    Python's own copies hold the GIL, also while a mapped file is read from disk and while pages are faulted in.
    """
    if len(source) > len(out):
        raise ValueError(f"{len(source)} bytes do not fit into {len(out)}")
    lib.rdk_copy(pointer(out), pointer(source), len(source))


def uncleared(length: int) -> memoryview:
    """Returns ``length`` writable bytes of any value: clearing them would hold the GIL."""
    return memoryview(ffi.buffer(_uncleared("uint8_t[]", length)))


def copied(parts: Sequence[Buffer]) -> memoryview:
    """Returns the parts one after the other, copied as `copy_bytes` does."""
    out, at = uncleared(sum(map(len, parts))), 0
    for part in parts:
        copy_bytes(part, out[at:])
        at += len(part)
    return out


def discard_pages(mapping: mmap, start: int, length: int) -> None:
    """Lets pages of a mapped file leave this process's memory; they are read again when they are used.

    ``start`` is a multiple of the page size. Releases the GIL.
    """
    with ffi.from_buffer("uint8_t[]", mapping) as native:
        lib.rdk_discard_pages(native + start, length)


def leb128_numbers(data: bytes, at: int, count: int) -> tuple[Sequence[int], int]:
    """Returns ``count`` LEB128 numbers of at most 64 bits from offset ``at`` on, and the offset behind them.

    Raises `Corrupt`.
    """
    if count > len(data) - at:
        raise Corrupt(f"{count} numbers cannot stand in {len(data) - at} bytes")
    numbers = array("Q", bytes(8 * count))
    native = ffi.from_buffer("uint64_t[]", numbers)
    used = lib.rdk_leb128_read_many(pointer(data) + at, len(data) - at, native, count)
    return numbers, at + check(used, "reading a table's numbers")
