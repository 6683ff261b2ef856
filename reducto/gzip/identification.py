"""Names the encoder of a gzip file, for `reducto analyze`, and tells why a layer was stored as it came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reducto.gzip.container_limits import ContainerLimits
from reducto.gzip.gzip_reader import GzipReader
from reducto.gzip.gzip_recipe import GzipRecipe
from reducto.values import Stored
from reducto.workers import Submit


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """What made a gzip file, as far as the encoder models can tell."""

    encoder: str | None = None
    """Name of the encoder model (``go-1.19-level-6``); None if no model comes near."""
    level: int | None = None
    """The level a user would have given; None without an encoder or where the encoder has none."""
    confidence: float = 0.0
    """Share of segments that the model rebuilds without any correction, 0 to 1."""
    members: int = 0
    segments: int = 0
    mispredictions: int = 0
    recipe_bytes: int = 0
    plain_bytes: int
    wire_bytes: int
    stored: Stored | None = None
    """Why the file would be stored as it came; None if it can be rebuilt."""


def identify(
    wire: Iterable[bytes], *, submit: Submit | None = None, limits: ContainerLimits | None = None
) -> Identification:
    """Reads a gzip file's bytes, in pieces of any size, and names its encoder.

    All segments are planned, so the outcome is proved and takes as long as encoding.
    """
    reader = GzipReader(limits or ContainerLimits(), submit)
    wire_bytes = plain_bytes = 0

    def count(piece: memoryview) -> None:
        nonlocal plain_bytes
        plain_bytes += len(piece)

    for piece in wire:
        wire_bytes += len(piece)
        reader.feed(piece, count)
        if reader.refused is not None:
            break
    outcome = reader.finish()
    if isinstance(outcome, Stored):
        return Identification(plain_bytes=plain_bytes, wire_bytes=wire_bytes, stored=outcome)
    return _describe(outcome, wire_bytes, plain_bytes)


def _describe(recipe: GzipRecipe, wire_bytes: int, plain_bytes: int) -> Identification:
    segments = [segment for member in recipe.members for segment in member.segments]
    exact = sum(not segment.corrections for segment in segments)
    level = next((choice.model.level for choice in recipe.choices if choice.model.name == recipe.encoder), -1)
    return Identification(
        encoder=recipe.encoder,
        level=level if level >= 0 else None,
        confidence=exact / len(segments),
        members=len(recipe.members),
        segments=len(segments),
        mispredictions=recipe.correction_count or 0,
        recipe_bytes=len(recipe.to_bytes()),
        plain_bytes=plain_bytes,
        wire_bytes=wire_bytes,
    )
