"""The bytes at hand of a stream that is read in pieces."""

from __future__ import annotations

from reducto.kernel._lib import Buffer
from reducto.kernel.buffers import copy_bytes, uncleared


class Window:
    """A stretch of a stream: bytes are added behind it and given up in front.

    Others run while they are copied, which for a ``bytearray`` they do not: it also moves itself, into fresh memory.
    """

    def __init__(self) -> None:
        self._room = memoryview(b"")
        self._start = self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._start

    def view(self, start: int = 0, stop: int | None = None) -> memoryview:
        """Bytes ``start..stop`` of those at hand, of which there are as many; valid until the next `add`."""
        return self._room[self._start + start : self._stop if stop is None else self._start + stop]

    def add(self, piece: Buffer) -> None:
        """Takes the stream's next bytes."""
        wanted = len(self) + len(piece)
        if self._stop + len(piece) > len(self._room):
            # Where little would be free after moving, twice the room: so each byte is moved a few times at most.
            room = self._room if 4 * wanted <= 3 * len(self._room) else uncleared(2 * wanted)
            copy_bytes(self.view(), room)
            self._room, self._start, self._stop = room, 0, len(self)
        copy_bytes(piece, self._room[self._stop :])
        self._stop += len(piece)

    def drop(self, count: int) -> None:
        """Gives the first ``count`` bytes up."""
        self._start += count
        if self._start == self._stop:
            self._start = self._stop = 0
