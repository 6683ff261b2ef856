"""The same bytes compressed by gzip and by zstd, for comparison with the codec."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import zstandard

GZIP_LEVEL = 6
ZSTD_LEVEL = 3
_GZIP_FRAMING = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Baseline:
    """One compressor's result. ``seconds`` is the time spent in the compressor, without reading the input."""

    output_bytes: int
    seconds: float


def gzip(pieces: Iterable[bytes | memoryview]) -> Baseline:
    """Compresses ``pieces`` like ``gzip -6``."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FRAMING)
    return _measure(pieces, compressor.compress, compressor.flush)


def zstd(pieces: Iterable[bytes | memoryview]) -> Baseline:
    """Compresses ``pieces`` like ``zstd -3``."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    return _measure(pieces, compressor.compress, compressor.flush)


def _measure(
    pieces: Iterable[bytes | memoryview],
    compress: Callable[[bytes | memoryview], bytes],
    flush: Callable[[], bytes],
) -> Baseline:
    total, seconds = 0, 0.0
    for piece in pieces:
        started = time.perf_counter()
        total += len(compress(piece))
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    total += len(flush())
    return Baseline(total, seconds + time.perf_counter() - started)
