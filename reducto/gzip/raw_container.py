"""Blobs that are not gzip: their wire bytes are their plain bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reducto.container import RAW_ENCODER, PlainReader
from reducto.errors import Corrupt
from reducto.values import ByteRange, Reason, Stored
from reducto.varint import NumberReader, put_numbers
from reducto.workers import Submit

PIECE_BYTES = 1 << 20


class RawRecipe:
    """The recipe of wire bytes that are the plain bytes. There is nothing to prove."""

    KIND = 0
    encoder = RAW_ENCODER

    def __init__(self, length: int) -> None:
        self.wire_length = self.plain_length = length

    def to_bytes(self) -> bytes:
        """The kind and the length."""
        out = bytearray([self.KIND])
        put_numbers(out, self.wire_length)
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes) -> RawRecipe:
        """The recipe that `to_bytes` wrote. Raises `Corrupt`."""
        if data[:1] != bytes([cls.KIND]):
            raise Corrupt("recipe: not a raw recipe")
        reader = NumberReader(data, "recipe", 1)
        recipe = cls(reader.take())
        reader.finish()
        return recipe

    def rebuild(
        self, plain: PlainReader, wire: ByteRange | None = None, submit: Submit | None = None
    ) -> Iterator[bytes | memoryview]:
        """The plain bytes of the range, in pieces."""
        wire = wire or ByteRange(0, self.wire_length)
        for at in range(wire.start, min(wire.stop, self.wire_length), PIECE_BYTES):
            yield bytes(plain.read(at, min(PIECE_BYTES, min(wire.stop, self.wire_length) - at)))


class RawReader:
    """Passes every wire byte on as a plain byte, up to a limit."""

    raw = True

    def __init__(self, plain_limit_bytes: int) -> None:
        self._limit = plain_limit_bytes
        self._length = 0
        self.refused: Stored | None = None

    def feed(self, wire: bytes | memoryview, sink: Callable[[memoryview], None]) -> None:
        """Hands ``wire`` to ``sink``."""
        if self.refused is not None:
            return
        self._length += len(wire)
        if self._length > self._limit:
            self.refused = Stored(Reason.PLAIN_LIMIT, f"more than {self._limit} plain bytes")
            return
        if len(wire):
            sink(memoryview(wire))

    def finish(self) -> RawRecipe | Stored:
        """The recipe, or the limit that was reached."""
        return self.refused or RawRecipe(self._length)
