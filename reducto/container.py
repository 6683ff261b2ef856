"""The seam between wire bytes and plain bytes.

An `ContainerReader` takes a blob as clients see it and yields its plain bytes; a `Recipe` turns plain bytes back
into exactly those wire bytes. Nothing above this module knows what kind of framing a blob has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from reducto.values import ByteRange, Stored
from reducto.workers import Submit


class PlainReader(Protocol):
    """Random access to plain bytes."""

    def read(self, plain_offset: int, length: int) -> memoryview:
        """Exactly ``length`` plain bytes from ``plain_offset``; valid until the next call from the same thread."""


class Recipe(Protocol):
    """How plain bytes become wire bytes again: a pure function with its corrections, proved before it exists."""

    encoder: str
    """What made the wire bytes: ``identity``, ``go-1.x-level-6``, ``pgzip-...``, ..."""
    wire_length: int
    plain_length: int

    def to_bytes(self) -> bytes:
        """The versioned serialised form, read by `recipe_from_bytes`."""

    def rebuild(
        self, plain: PlainReader, wire: ByteRange | None = None, submit: Submit | None = None
    ) -> Iterator[bytes | memoryview]:
        """The wire bytes of ``wire`` (all of them by default), in order, in pieces.

        Starts at the segment that holds ``wire.start`` and reads no more plain bytes before it than the
        model's warm-up. With ``submit`` segments are rebuilt ahead on workers.
        """


class ContainerReader(Protocol):
    """One blob on its way in. Not thread-safe; `feed` in order, then `finish` once."""

    identity: bool
    """Whether the wire bytes are the plain bytes."""
    refused: Stored | None
    """Set as soon as it is certain that there will be no recipe: `finish` returns it, further bytes are ignored."""

    def feed(self, wire: bytes | memoryview, sink: Callable[[memoryview], None]) -> None:
        """Takes the next wire bytes and hands plain bytes, in order, to ``sink``."""

    def finish(self) -> Recipe | Stored:
        """The proved recipe, or why there is none. A recipe that was not proved cannot be had."""
