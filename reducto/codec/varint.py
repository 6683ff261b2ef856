"""LEB128 numbers, as they stand in the tables of packed corpora."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from reducto.errors import Corrupt
from reducto.kernel.buffers import leb128_numbers

_LIMIT_BITS = 63


def put(out: bytearray, *values: int) -> None:
    """Appends each of ``values`` (not negative)."""
    for value in values:
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)


class Numbers:
    """Reads numbers off the front of ``data``. Raises `Corrupt` where they end."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = bytes(data)
        self.at = 0

    def take(self) -> int:
        """The next number."""
        value = shift = 0
        while True:
            if self.at >= len(self._data) or shift > _LIMIT_BITS:
                raise Corrupt("a table ends in the middle of a number")
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7

    def take_many(self, count: int) -> Sequence[int]:
        """The next ``count`` numbers."""
        numbers, self.at = leb128_numbers(self._data, self.at, count)
        return numbers

    def take_ascending(self, count: int) -> Sequence[int]:
        """The next ``count`` values of which `ascending` made the distances."""
        values = list(accumulate(self.take_many(count)))
        if values and values[-1] >> _LIMIT_BITS:
            raise Corrupt("a table holds an offset that no file has")
        return values

    def count(self, limit: int) -> int:
        """The next number, which must not exceed ``limit``: for lengths that decide how much is read."""
        value = self.take()
        if value > limit:
            raise Corrupt(f"a table claims {value} entries where at most {limit} are possible")
        return value

    def raw(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        piece = self._data[self.at : self.at + length]
        if len(piece) != length:
            raise Corrupt("a table is cut off")
        self.at += length
        return piece

    def finish(self) -> None:
        """Raises `Corrupt` if anything is left."""
        if self.at != len(self._data):
            raise Corrupt("a table is followed by something unknown")


def ascending(values: Iterable[int]) -> list[int]:
    """Distances between ``values``, which must not descend, beginning with the first value."""
    out, last = [], 0
    for value in values:
        out.append(value - last)
        last = value
    return out
