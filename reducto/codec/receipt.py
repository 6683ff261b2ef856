"""What was done with one blob, in figures: kept with its record, shown by reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from reducto.values import CorpusId


@dataclass(frozen=True, slots=True)
class Receipt:
    """Sizes in bytes, times in seconds. ``output_bytes`` is everything stored for the blob."""

    encoder: str
    wire_bytes: int
    plain_bytes: int
    output_bytes: int
    copied_bytes: int
    """Plain bytes that corpora hold."""
    repeated_bytes: int
    """Plain bytes that repeat new bytes of the same blob."""
    delta_bytes: int
    """New plain bytes stored as differences from their twins."""
    literal_bytes: int
    """New plain bytes stored for themselves."""
    delta_stored_bytes: int
    literal_stored_bytes: int
    instruction_bytes: int
    recipe_bytes: int
    hit_rate: float
    """Part of the plain bytes that `copied_bytes` and `repeated_bytes` are."""
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
