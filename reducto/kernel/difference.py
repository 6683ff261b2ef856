"""New bytes as differences from old ones that they resemble without being the same, and back."""

from __future__ import annotations

from collections.abc import Sequence

from reducto.kernel._lib import Buffer, check, ffi, lib, pointer

#: Largest number of old or new bytes.
LENGTH_LIMIT_BYTES: int = lib.RDK_DIFFERENCE_BYTES_MAX
COLUMNS: int = lib.RDK_DIFFERENCE_COLUMNS
#: Columns: lengths of what resembles old bytes; what is added to changed bytes; bytes that resemble nothing.
NEAR, ADDED, LITERALS = 0, COLUMNS - 2, COLUMNS - 1
# Where differences cover fewer bytes on average, the old bytes are no help.
_AVERAGE_BYTES_MIN = 16
_SPARE_BYTES = 64
# Failed searches beyond half of the bytes passed: once there are more, the old bytes are no help either.
_SEARCH_BUDGET = 256 << 10
# Bytes of a LEB128 number of 32 bits.
_NUMBER_BYTES = 5


def difference_columns(old: Buffer, new: Buffer) -> list[bytes] | None:
    """Returns the columns of the differences of ``new`` from ``old``, or None if too little resembles the old bytes.

    Both have at most `LENGTH_LIMIT_BYTES`. Takes four bytes of memory for every three old ones, and up to two for every
    new one.
    """
    capacity = len(new) // _AVERAGE_BYTES_MIN + _SPARE_BYTES
    found = ffi.new("rdk_difference[]", capacity)
    count = lib.rdk_difference_find(pointer(old), len(old), pointer(new), len(new), _SEARCH_BUDGET, found, capacity)
    if count == lib.RDK_E_OUTPUT_FULL:
        return None
    check(count, "finding differences")
    lists, runs = _NUMBER_BYTES * count + _SPARE_BYTES, len(new) // 4 + _SPARE_BYTES
    bytes_of = [bytearray(n) for n in (lists, lists, lists, runs, runs, len(new) // 2, len(new))]
    native = ffi.new("rdk_difference_column[]", COLUMNS)
    held = [pointer(column) for column in bytes_of]
    for column, source in zip(native, held, strict=True):
        column.bytes, column.capacity = source, len(source)
    status = lib.rdk_difference_write(pointer(old), len(old), pointer(new), len(new), found, count, native)
    if status == lib.RDK_E_OUTPUT_FULL:
        return None
    check(status, "writing differences")
    return [bytes(memoryview(content)[: column.length]) for content, column in zip(bytes_of, native, strict=True)]


class DifferenceReader:
    """Reads the new bytes out of columns and the old bytes. Not thread-safe."""

    def __init__(self, columns: Sequence[Buffer], old: Buffer) -> None:
        self._reader = ffi.new("rdk_difference_reader *")
        self._held = [pointer(column) for column in columns]
        self._old = pointer(old)
        for at, column in enumerate(self._held):
            self._reader.columns[at], self._reader.lengths[at] = column, len(column)
        self._reader.old, self._reader.old_length = self._old, len(old)

    def read_into(self, out: bytearray | memoryview) -> None:
        """Fills ``out`` with the next new bytes. Raises `Corrupt`."""
        check(lib.rdk_difference_read(self._reader, pointer(out), len(out)), "differences")
