"""LEB128 numbers, bounded."""

from __future__ import annotations

from reducto.errors import Corrupt


def put(out: bytearray, value: int) -> None:
    """Appends ``value`` >= 0."""
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class Reader:
    """Reads numbers and byte strings in order; raises `Corrupt` at the end of the bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def number(self, most: int = (1 << 63) - 1) -> int:
        """The next number; `Corrupt` if it is above ``most``."""
        value = shift = 0
        while True:
            if self._at >= len(self._data) or shift > 63:
                raise Corrupt("recipe: a number is cut off or too long")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if value > most:
            raise Corrupt(f"recipe: {value} is above {most}")
        return value

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        if length > len(self._data) - self._at:
            raise Corrupt("recipe: cut off")
        self._at += length
        return self._data[self._at - length : self._at]

    def end(self) -> None:
        """Raises `Corrupt` if anything is left."""
        if self._at != len(self._data):
            raise Corrupt("recipe: bytes behind its end")
