"""What a caller may choose about encoding. Every limit has its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass, field

from reducto.codec.frames import FRAME_LIMIT_BYTES
from reducto.kernel.chunking import ChunkParams

#: Corpora that one blob may need to be rebuilt, its own new bytes included.
CORPORA_LIMIT = 8


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """Parameters of one encoding, each set by its name. The defaults favour a small result over speed."""

    chunking: ChunkParams = field(default_factory=ChunkParams)
    compression_level: int = 9
    """zstd level of new bytes, 1-22."""
    window_log: int = 27
    """zstd long-range window of new bytes: 2**window_log bytes, at most 27."""
    frame_bytes: int = FRAME_LIMIT_BYTES
    """Plain bytes of the longest frame; compressing one takes about twice as much memory."""
    sample_bytes: int = 8 << 20
    """Plain bytes that are looked at before the gate decides."""
    gate: bool = True
    """False: the blob is reduced whatever the score says, but the final comparison of sizes still holds."""
    minimum_score: float = 0.02
    """The differential advantage score below which the gate declines."""
    minimum_gain: float = 0.01
    """Part of the wire bytes that reducing must save in the end, or the blob is stored as it came."""
    inline_bytes: int = 64 << 10
    """A packed corpus of at most this size travels inside the instructions."""
    corpora_limit: int = CORPORA_LIMIT
    """Corpora that rebuilding the blob may need, its own new bytes included."""
    plain_limit_bytes: int = 64 << 30
    """Plain bytes beyond which a blob is stored as it came; this bounds temporary files."""
    compression_threads: int = 0
    """zstd threads of one long frame; 0: only the calling thread."""
