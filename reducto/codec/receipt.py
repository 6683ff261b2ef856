"""What was done with one blob, in figures. Its record holds them and reports show them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from reducto.values import CorpusId


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Sizes in bytes, times in seconds, each set by its name. ``output_bytes`` is everything stored for the blob."""

    encoder: str
    wire_bytes: int
    plain_bytes: int
    output_bytes: int
    copied_bytes: int
    """Plain bytes that corpora hold."""
    repeated_bytes: int
    """Plain bytes that repeat new bytes of the same blob."""
    delta_bytes: int
    """New plain bytes stored as deltas or differences against a delta base."""
    literal_bytes: int
    """New plain bytes compressed alone, with a dictionary, or stored as they are."""
    delta_stored_bytes: int
    literal_stored_bytes: int
    instruction_bytes: int
    recipe_bytes: int
    hit_rate: float
    """`copied_bytes` and `repeated_bytes` as a part (0 to 1) of the plain bytes."""
    score: float
    """The gate's differential advantage score."""
    decision: str
    reason: str
    corpora: tuple[CorpusId, ...]
    seconds: float
    proof: str = "rebuilt"

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**asdict(self), "corpora": list(self.corpora)}
