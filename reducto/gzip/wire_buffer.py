"""The wire bytes of a stream that were read and are not used up yet."""

from __future__ import annotations

from reducto.kernel._lib import Buffer
from reducto.kernel.buffers import copy_bytes, uncleared


class WireBuffer:
    """A queue of bytes in one piece of memory: bytes are added at its end and dropped from its front.

    The kernel copies them without holding the GIL. A ``bytearray`` would hold it, and would reallocate as it grows.
    """

    def __init__(self) -> None:
        self._memory = memoryview(b"")
        self._start = self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._start

    def view(self, start: int = 0, stop: int | None = None) -> memoryview:
        """Bytes ``start..stop`` of the buffer, which must be there; valid until the next `add`."""
        return self._memory[self._start + start : self._stop if stop is None else self._start + stop]

    def add(self, piece: Buffer) -> None:
        """Appends the stream's next bytes."""
        wanted = len(self) + len(piece)
        if self._stop + len(piece) > len(self._memory):
            # Unless moving to the front frees a quarter of the memory, its size is doubled: so each byte is moved a few
            # times at most.
            memory = self._memory if 4 * wanted <= 3 * len(self._memory) else uncleared(2 * wanted)
            copy_bytes(self.view(), memory)
            self._memory, self._start, self._stop = memory, 0, len(self)
        copy_bytes(piece, self._memory[self._stop :])
        self._stop += len(piece)

    def drop(self, count: int) -> None:
        """Removes the first ``count`` bytes."""
        self._start += count
        if self._start == self._stop:
            self._start = self._stop = 0
