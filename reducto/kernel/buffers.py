"""What Python does slowly with large buffers."""

from __future__ import annotations

from collections.abc import Iterator

from reducto.kernel._lib import Buffer, ffi, lib, pointer


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
