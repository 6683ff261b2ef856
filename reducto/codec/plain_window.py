"""The plain bytes of a blob that are read and not covered by operations yet."""

from __future__ import annotations

from collections.abc import Iterable

from reducto.kernel.buffers import copy_bytes, uncleared

#: Plain bytes that are matched at a time.
WINDOW_BYTES = 4 << 20


class PlainWindow:
    """One buffer that is filled from its front, with the anchors in it. Each covered buffer is replaced by another.

    The first buffer has ``first_bytes`` if that is more than 4 MiB, because the gate decides by what is in it.
    """

    def __init__(self, first_bytes: int) -> None:
        self._buffer = uncleared(max(WINDOW_BYTES, first_bytes))
        self._spare: list[memoryview] = []
        self._anchors: list[int] = []
        self.fill = 0
        """Bytes of the buffer that are filled."""
        self.plain_offset = 0
        """The offset in the blob's plain bytes of the first byte of the buffer."""

    @property
    def is_full(self) -> bool:
        return self.fill == len(self._buffer)

    @property
    def filled(self) -> memoryview:
        """The plain bytes in the window."""
        return self._buffer[: self.fill]

    @property
    def free(self) -> memoryview:
        """The rest of the buffer."""
        return self._buffer[self.fill :]

    def put(self, plain: memoryview) -> int:
        """Takes as much of ``plain`` as fits in, and returns how much that is.

        Bytes that were written to `free` itself are not copied.
        """
        count = min(len(plain), len(self._buffer) - self.fill)
        if plain.obj is not self._buffer.obj:
            copy_bytes(plain[:count], self._buffer[self.fill :])
        self.fill += count
        return count

    def note_anchors(self, plain_offsets: Iterable[int]) -> None:
        """Adds plain offsets of the blob, ascending, at which chunks end whatever the content is."""
        self._anchors += plain_offsets

    def anchors(self, start: int, stop: int) -> list[int]:
        """The anchors behind ``start`` and up to ``stop`` of the window, counted from ``start``."""
        low, high = self.plain_offset + start, self.plain_offset + stop
        return [anchor - low for anchor in self._anchors if low < anchor <= high]

    def advance(self, covered: int) -> memoryview:
        """Goes on behind the first ``covered`` bytes in another buffer, and returns the old one with these bytes."""
        old, rest = self._buffer, self._buffer[covered : self.fill]
        self._buffer = self._spare.pop() if self._spare else uncleared(WINDOW_BYTES)
        copy_bytes(rest, self._buffer)
        self.fill = len(rest)
        self.plain_offset += covered
        self._anchors = [anchor for anchor in self._anchors if anchor > self.plain_offset]
        return old

    def recycle(self, buffer: memoryview) -> None:
        """Takes back a buffer that `advance` returned, to use it again. May be called from any thread."""
        if len(buffer) == WINDOW_BYTES:
            self._spare.append(buffer)
