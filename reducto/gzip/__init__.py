"""Framing of blobs: how wire bytes become plain bytes and come back exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reducto.errors import Corrupt
from reducto.model import ByteRange, Stored
from reducto.recipe import PlainSource, Recipe, Submit, Unframer

__all__ = ["open_unframer", "recipe_from_bytes"]

_PIECE_BYTES = 4 << 20


class IdentityRecipe:
    """The recipe of a blob whose wire and plain bytes are the same."""

    encoder = "identity"

    def __init__(self, length: int) -> None:
        self.wire_length = self.plain_length = length

    def to_bytes(self) -> bytes:
        """Nothing needs to be said."""
        return b""

    def rebuild(
        self, plain: PlainSource, wire: ByteRange | None = None, submit: Submit | None = None
    ) -> Iterator[bytes]:
        """The plain bytes of the range."""
        span = wire or ByteRange(0, self.wire_length)
        for at in range(span.start, span.stop, _PIECE_BYTES):
            yield bytes(plain.read(at, min(_PIECE_BYTES, span.stop - at)))


class IdentityUnframer:
    """Passes bytes through."""

    def __init__(self) -> None:
        self._length = 0

    def feed(self, wire: bytes | memoryview, sink: Callable[[memoryview], None]) -> None:
        """As `Unframer.feed`."""
        self._length += len(wire)
        sink(memoryview(wire))

    def finish(self) -> Recipe | Stored:
        """As `Unframer.finish`."""
        return IdentityRecipe(self._length)


def open_unframer(head: bytes, submit: Submit | None = None) -> Unframer:
    """The unframer for a blob that begins with ``head``."""
    return IdentityUnframer()


def recipe_from_bytes(data: bytes | memoryview) -> Recipe:
    """The recipe that `Recipe.to_bytes` wrote. Raises `Corrupt`."""
    raise Corrupt("recipe: no framing of this kind is known")
