"""What a gzip blob consists of: members, their segments, and the models that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reducto.gzip.planning import Choice


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of deflate blocks and what the model of its encoder got wrong about them."""

    plain_length: int
    wire_bits: int
    model: int
    """Index into the recipe's choices."""
    recipe: bytes
    shared_bits: int = 0
    """The bits of its first wire byte that belong to the segment before."""


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member; ``trailer`` None: computed from the plain bytes of its only segment."""

    header: bytes
    trailer: bytes | None
    segments: Sequence[Segment] = field(default_factory=list)


class Layout:
    """All of a blob, in wire order: members, then trailing bytes. Lengths are bytes."""

    def __init__(
        self,
        wire_length: int,
        plain_length: int,
        choices: tuple[Choice, ...],
        members: Sequence[Member],
        trailing: bytes,
    ) -> None:
        self.wire_length = wire_length
        self.plain_length = plain_length
        self.choices = choices
        self.members = members
        self.trailing = trailing

    @property
    def follows(self) -> bool:
        """Whether any of its encoders can follow an older blob."""
        return any(choice.model.reuses_tokens for choice in self.choices)
