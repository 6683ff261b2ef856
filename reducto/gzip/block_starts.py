"""Where the blocks of a deflate stream begin."""

from __future__ import annotations

from array import array


class BlockStarts:
    """The starts of blocks in order, and at last where the stream ends.

    They are two arrays instead of one object per block, because the garbage collector would visit all objects again and
    again.
    """

    def __init__(self) -> None:
        self.bits, self.plains = array("Q"), array("Q")
        """The position of each start in the deflate stream (in bits) and in the plain bytes."""

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.bits[index], self.plains[index]

    def add(self, bits: bytes, plains: bytes) -> None:
        """Appends the starts that `reducto.kernel.gzip.Inflater.entered` returned."""
        self.bits.frombytes(bits)
        self.plains.frombytes(plains)

    def append(self, bit: int, plain: int) -> None:
        """Appends one start."""
        self.bits.append(bit)
        self.plains.append(plain)

    def drop(self, count: int) -> None:
        """Removes the first ``count`` starts."""
        del self.bits[:count], self.plains[:count]
