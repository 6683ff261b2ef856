"""Bounds of reading a container. A blob that reaches one is stored as it came, and memory stays bounded in any case."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLimits:
    """What reading one blob may cost before the blob is stored as it came. Each limit is set by its name."""

    plain_limit_bytes: int = 32 << 30
    """Plain bytes of one blob."""
    expansion_limit: int = 200
    """Plain bytes per wire byte, which count once there are `expansion_floor_bytes` of plain bytes.

    A blob beyond it is a decompression bomb or holds next to nothing, and is so small that reducing it gains nothing.
    """
    expansion_floor_bytes: int = 1 << 30
    recipe_percent: float = 1.0
    """Serialised recipe in percent of the wire bytes; a larger one is not worth keeping."""
    recipe_floor_bytes: int = 4096
    """A recipe of up to this length is kept whatever its share of the wire bytes."""
    header_limit_bytes: int = 1 << 17
    """One gzip member header with its optional fields."""
    trailing_limit_bytes: int = 1 << 20
    """Bytes behind the last member."""
    block_limit_bytes: int = 24 << 20
    """Plain bytes from one possible start of a segment to the next; encoders of layers stay under 4 MiB."""
    block_limit_count: int = 1 << 16
    """Deflate blocks of one segment."""
    segments_in_flight: int = 4
    """Segments that are planned ahead at once; each holds up to about 7 MiB."""
