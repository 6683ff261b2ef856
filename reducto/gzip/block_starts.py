"""Where the blocks of a deflate stream begin."""

from __future__ import annotations

from array import array


class Boundaries:
    """The starts of blocks in order, and at last where the stream ends.

    Two columns of numbers: of an object for each block the garbage collector would look at all, again and again.
    """

    def __init__(self) -> None:
        self.bits, self.plains = array("Q"), array("Q")
        """Place of each in the deflate stream, in bits, and in the plain bytes."""

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.bits[index], self.plains[index]

    def add(self, bits: bytes, plains: bytes) -> None:
        """Appends what `reducto.kernel.gzip.Inflater.entered` gives."""
        self.bits.frombytes(bits)
        self.plains.frombytes(plains)

    def append(self, bit: int, plain: int) -> None:
        """Appends one."""
        self.bits.append(bit)
        self.plains.append(plain)

    def drop(self, count: int) -> None:
        """Forgets the first ``count``."""
        del self.bits[:count], self.plains[:count]
