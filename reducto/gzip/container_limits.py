"""Bounds of unframing. What reaches one is stored as it came; memory stays bounded in any case."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What a blob may cost before it is stored as it came."""

    plain_limit_bytes: int = 32 << 30
    """Plain bytes of one blob."""
    expansion_limit: int = 200
    """Plain bytes per wire byte, once there are `expansion_floor_bytes` of them: beyond it a blob is a bomb or next to
    empty, and so small already that there is nothing to gain."""
    expansion_floor_bytes: int = 1 << 30
    recipe_percent: float = 1.0
    """Serialised recipe, in percent of the wire bytes; beyond it a recipe is not worth keeping."""
    recipe_floor_bytes: int = 4096
    """A recipe up to this is kept whatever its share."""
    header_limit_bytes: int = 1 << 17
    """One gzip member header with its optional fields."""
    trailing_limit_bytes: int = 1 << 20
    """Bytes behind the last member."""
    block_limit_bytes: int = 24 << 20
    """Plain bytes from one possible segment start to the next; encoders of layers stay under 4 MiB."""
    block_limit_count: int = 1 << 16
    """Deflate blocks of one segment."""
    segments_in_flight: int = 4
    """Segments being planned or rebuilt ahead at once; each holds up to about 7 MiB."""
