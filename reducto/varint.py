"""LEB128 numbers, as they stand in stored tables and recipes; bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from reducto.errors import Corrupt
from reducto.kernel.buffers import leb128_numbers

_MOST = (1 << 63) - 1


def put(out: bytearray, *values: int) -> None:
    """Appends each of ``values`` (not negative)."""
    for value in values:
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)


def ascending(values: Iterable[int]) -> list[int]:
    """Distances between ``values``, which must not descend, beginning with the first value."""
    out, last = [], 0
    for value in values:
        out.append(value - last)
        last = value
    return out


class Numbers:
    """Reads numbers and byte strings off ``data`` from offset ``at``. Raises `Corrupt`, which names ``what`` it is."""

    def __init__(self, data: bytes | memoryview, what: str, at: int = 0) -> None:
        self._data = bytes(data)
        self._what = what
        self.at = at

    def take(self, most: int = _MOST) -> int:
        """The next number. Above ``most`` it is corrupt: for lengths that decide how much is read."""
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

    def take_ascending(self, count: int) -> Sequence[int]:
        """The next ``count`` values of which `ascending` made the distances."""
        values = list(accumulate(self.take_many(count)))
        if values and values[-1] > _MOST:
            raise Corrupt(f"{self._what}: it holds an offset that no file has")
        return values

    def raw(self, length: int) -> bytes:
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
