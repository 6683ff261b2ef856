"""Naming the encoder of a gzip file: for `reducto analyze`, and to see why a layer was stored as it came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reducto.gzip.container_limits import ContainerLimits
from reducto.gzip.gzip_reader import GzipReader
from reducto.gzip.gzip_recipe import GzipRecipe
from reducto.values import Stored
from reducto.workers import Submit


@dataclass(frozen=True, slots=True)
class Identification:
    """What made a gzip file, as far as the models can tell."""

    encoder: str | None
    """Model name (``go-1.19-level-6``); None if no model comes near."""
    level: int | None
    """The level a user would have given; None without an encoder or where the encoder has none."""
    confidence: float
    """Share of segments that the model rebuilds without any correction, 0 to 1."""
    members: int
    segments: int
    mispredictions: int
    recipe_bytes: int
    plain_bytes: int
    wire_bytes: int
    stored: Stored | None
    """Why the file would be stored as it came; None if it can be rebuilt."""


def identify(
    wire: Iterable[bytes], *, submit: Submit | None = None, limits: ContainerLimits | None = None
) -> Identification:
    """Reads a gzip file's bytes, in pieces of any size, and names its encoder. Plans, and so proves, all of it."""
    unframer = GzipReader(limits or ContainerLimits(), submit)
    wire_bytes = plain_bytes = 0

    def count(piece: memoryview) -> None:
        nonlocal plain_bytes
        plain_bytes += len(piece)

    for piece in wire:
        wire_bytes += len(piece)
        unframer.feed(piece, count)
        if unframer.refused is not None:
            break
    outcome = unframer.finish()
    if isinstance(outcome, Stored):
        return Identification(None, None, 0.0, 0, 0, 0, 0, plain_bytes, wire_bytes, outcome)
    return _describe(outcome, wire_bytes, plain_bytes)


def _describe(recipe: GzipRecipe, wire_bytes: int, plain_bytes: int) -> Identification:
    segments = [segment for member in recipe.members for segment in member.segments]
    exact = sum(not segment.recipe for segment in segments)
    level = next((choice.model.level for choice in recipe.choices if choice.model.name == recipe.encoder), -1)
    return Identification(
        encoder=recipe.encoder,
        level=level if level >= 0 else None,
        confidence=exact / len(segments),
        members=len(recipe.members),
        segments=len(segments),
        mispredictions=recipe.corrections or 0,
        recipe_bytes=len(recipe.to_bytes()),
        plain_bytes=plain_bytes,
        wire_bytes=wire_bytes,
        stored=None,
    )
