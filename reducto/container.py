"""What lies between the wire bytes of a blob and its plain bytes: a container such as gzip, or nothing.

A `ContainerReader` takes the wire bytes and yields the plain bytes; a `Recipe` turns plain bytes back into exactly
those wire bytes. Code above this module does not know which container a blob has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from reducto.values import ByteRange, Stored
from reducto.workers import Submit

#: `Recipe.encoder` of wire bytes that are the plain bytes. Instructions and receipts hold this text.
RAW_ENCODER = "identity"


class PlainReader(Protocol):
    """Random access to plain bytes."""

    def read(self, plain_offset: int, length: int) -> memoryview:
        """Exactly ``length`` plain bytes from ``plain_offset``; valid until the next call from the same thread."""


class Recipe(Protocol):
    """How plain bytes become wire bytes again: a pure function with its corrections, proved before it exists."""

    encoder: str
    """The name of what made the wire bytes: `RAW_ENCODER`, ``go-1.x-level-6``, ``pgzip-...``."""
    wire_length: int
    plain_length: int

    def to_bytes(self) -> bytes:
        """The versioned serialised form, which `reducto.gzip.recipe_from_bytes` reads."""

    def rebuild(
        self, plain: PlainReader, wire: ByteRange | None = None, submit: Submit | None = None
    ) -> Iterator[bytes | memoryview]:
        """The wire bytes of ``wire`` (all of them by default), in order, in pieces.

        Rebuilding starts at the segment that holds ``wire.start`` and reads no more plain bytes before it than the
        encoder model's warm-up. With ``submit`` segments are rebuilt ahead on workers.
        """


class ContainerReader(Protocol):
    """One blob on its way in. Not thread-safe; call `feed` in order, then `finish` once."""

    raw: bool
    """Whether the wire bytes are the plain bytes."""
    refused: Stored | None
    """Set as soon as it is certain that there will be no recipe: `finish` returns it, further bytes are ignored."""

    def feed(self, wire: bytes | memoryview, sink: Callable[[memoryview], None]) -> None:
        """Takes the next wire bytes and hands plain bytes, in order, to ``sink``."""

    def finish(self) -> Recipe | Stored:
        """The recipe, or why there is none. A recipe that is returned was proved to give exactly the wire bytes."""
