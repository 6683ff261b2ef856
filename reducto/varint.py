"""LEB128 numbers (DWARF 5, section 7.6, unsigned) as stored tables and recipes hold them, with bounds for reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from reducto.errors import Corrupt
from reducto.kernel.buffers import leb128_numbers

_MOST = (1 << 63) - 1
_LAST_BYTES = bytes(range(0x80))


def put_numbers(out: bytearray, *values: int) -> None:
    """Appends each of ``values``, which must not be negative, to ``out``."""
    for value in values:
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)


def distances(values: Iterable[int]) -> list[int]:
    """The distance of each of ``values`` from the one before, and of the first from 0. The values must not descend."""
    out, last = [], 0
    for value in values:
        out.append(value - last)
        last = value
    return out


class NumberReader:
    """Reads numbers and byte strings from ``data``, beginning at offset ``at``.

    Its methods raise `Corrupt`, whose message names ``what`` the data are.
    """

    def __init__(self, data: bytes | memoryview, what: str, at: int = 0) -> None:
        self._data = bytes(data)
        self._what = what
        self.at = at

    def take(self, most: int = _MOST) -> int:
        """The next number. One above ``most`` is corrupt: give it for lengths that decide how much is read."""
        value = shift = 0
        while True:
            if self.at >= len(self._data) or shift > 63:
                raise Corrupt(f"{self._what}: a number is cut off or too long")
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
        if value > most:
            raise Corrupt(f"{self._what}: {value} where at most {most} is possible")
        return value

    def take_many(self, count: int) -> Sequence[int]:
        """The next ``count`` numbers, of at most 64 bits."""
        try:
            numbers, self.at = leb128_numbers(self._data, self.at, count)
        except Corrupt as error:
            raise Corrupt(f"{self._what}: {error}") from None
        return numbers

    def take_all(self) -> Sequence[int]:
        """All numbers up to the end of the data, of at most 64 bits."""
        left = self._data[self.at :]
        numbers = self.take_many(len(left) - len(left.translate(None, _LAST_BYTES)))
        self.finish()
        return numbers

    def take_ascending(self, count: int) -> Sequence[int]:
        """The next ``count`` values, of which `distances` were written."""
        values = list(accumulate(self.take_many(count)))
        if values and values[-1] > _MOST:
            raise Corrupt(f"{self._what}: it holds an offset that no file has")
        return values

    def take_bytes(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        piece = self._data[self.at : self.at + length]
        if len(piece) != length:
            raise Corrupt(f"{self._what}: cut off")
        self.at += length
        return piece

    def finish(self) -> None:
        """Raises `Corrupt` if anything is left."""
        if self.at != len(self._data):
            raise Corrupt(f"{self._what}: something unknown follows")
