"""What a gzip blob consists of: members, their segments, and the encoder models that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reducto.gzip.encoder_choice import EncoderChoice


@dataclass(frozen=True, slots=True)
class DeflateSegment:
    """A run of whole deflate blocks, and the corrections of its encoder model."""

    plain_length: int
    wire_bits: int
    choice: int
    """Index of its encoder model in `GzipLayout.choices`."""
    corrections: bytes
    """What the encoder model would get wrong, as the kernel stores it; empty if the model makes exactly these bits."""
    shared_bits: int = 0
    """The bits of its first wire byte that belong to the segment before."""


@dataclass(frozen=True, slots=True)
class GzipMember:
    """One gzip member. If ``trailer`` is None, it is computed from the plain bytes of its only segment."""

    header: bytes
    trailer: bytes | None
    segments: Sequence[DeflateSegment] = field(default_factory=list)


class GzipLayout:
    """All of a blob in wire order: members, then trailing bytes. Lengths are bytes."""

    def __init__(
        self,
        wire_length: int,
        plain_length: int,
        choices: tuple[EncoderChoice, ...],
        members: Sequence[GzipMember],
        trailing: bytes,
    ) -> None:
        self.wire_length = wire_length
        self.plain_length = plain_length
        self.choices = choices
        self.members = members
        self.trailing = trailing

    @property
    def can_reuse_tokens(self) -> bool:
        """Whether one of its encoders is one whose tokens can be taken from a donor."""
        return any(choice.model.reuses_tokens for choice in self.choices)
