"""One frame of a packed corpus: new bytes, compressed alone, with a dictionary, or against a delta base.

`reducto.codec.frame_reader` reads them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from reducto.codec import zstd_prefix
from reducto.codec.difference_frame import DIFFERENCE_LIMIT_BYTES, compress_difference
from reducto.kernel.matching import Extent
from reducto.values import ByteRange

#: Plain bytes of the longest frame.
FRAME_LIMIT_BYTES = 128 << 20
#: The longest delta base of a frame that a reader accepts. An encoder takes 24 MiB.
DELTA_BASE_LIMIT_BYTES = 64 << 20
WINDOW_LOG_LIMIT = 27
# Hash and chain tables of 4 million entries. zstd's own tables at low levels are too small to remember a prefix of
# megabytes: with them, level 6 made 16.7 MB of a Python layer with six newer packages, and level 9 made 6.5 MB.
_DELTA_HASH_LOG = 22
# Below this level the fast strategy is used for deltas: with wide tables it made 7.5 MB of the same layer.
_FIRST_SLOW_LEVEL = 4
# From this level on there is time to look for differences first.
_DIFFERENCE_LEVEL = 9
# From 1 MiB on zstd's long-distance matching finds repeats that its own tables forget.
_LONG_DISTANCE_BYTES = 1 << 20
# Several threads cut a frame into jobs, which costs ratio: not worth it up to 32 MiB.
_THREADS_FROM_BYTES = 32 << 20
_LEAST_LITERAL_WINDOW_LOG = 10
_LEAST_DELTA_WINDOW_LOG = 17


class FrameKind(enum.IntEnum):
    """How a frame was made; the values are stored."""

    RAW = 0
    LITERAL = 1
    DELTA = 2
    DICTIONARY = 3
    DIFFERENCE = 4


#: Frames that can be read only with their delta base.
NEED_DELTA_BASE = (FrameKind.DELTA, FrameKind.DIFFERENCE)


@dataclass(frozen=True, slots=True)
class Frame:
    """Stored bytes of the plain ranges ``ranges`` of a corpus, taken one after the other.

    ``bases`` are extents of parent corpora. Joined, they are the delta base: the zstd prefix of a DELTA frame, or what
    a DIFFERENCE frame differs from. A DICTIONARY frame has one extent, whose reference names the parent with the
    trained dictionary that is used.
    """

    kind: FrameKind
    ranges: tuple[ByteRange, ...]
    stored_length: int
    bases: tuple[Extent, ...] = ()

    @property
    def plain_length(self) -> int:
        return sum(map(len, self.ranges))


def _literal_parameters(level: int, length: int, window_log: int, threads: int) -> zstandard.ZstdCompressionParameters:
    log = min(window_log, max(_LEAST_LITERAL_WINDOW_LOG, (length - 1).bit_length()))
    return zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=length,
        window_log=log if length else _LEAST_LITERAL_WINDOW_LOG,
        enable_ldm=int(length > _LONG_DISTANCE_BYTES),
        threads=threads if length > _THREADS_FROM_BYTES else 0,
    )


def compress_literal(data: bytes | memoryview, level: int, window_log: int = 27, threads: int = 0) -> bytes:
    """``data`` as one zstd frame with a window over all of it (up to ``2**window_log`` bytes)."""
    parameters = _literal_parameters(level, len(data), window_log, threads)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def delta_parameters(level: int, length: int) -> zstandard.ZstdCompressionParameters:
    """How a DELTA frame is compressed whose data and delta base have ``length`` bytes together."""
    log = max(_LEAST_DELTA_WINDOW_LOG, min(WINDOW_LOG_LIMIT, length.bit_length()))
    wide = min(_DELTA_HASH_LOG, log)
    if level < _FIRST_SLOW_LEVEL:
        return zstandard.ZstdCompressionParameters(
            window_log=log, hash_log=wide, chain_log=wide, search_log=1, min_match=6, target_length=1,
            strategy=zstandard.STRATEGY_FAST, format=zstandard.FORMAT_ZSTD1,
        )  # fmt: skip
    return zstandard.ZstdCompressionParameters.from_level(level, window_log=log, hash_log=wide, chain_log=wide)


def compress_delta(data: bytes | memoryview, base: bytes | memoryview, level: int) -> bytes | memoryview:
    """``data`` as one zstd frame that may refer to ``base`` (raw content), which decoding needs as well."""
    return zstd_prefix.compress(data, base, delta_parameters(level, len(data) + len(base)))


def compress_against(
    data: bytes | memoryview, base: bytes | memoryview, level: int
) -> tuple[FrameKind, bytes | memoryview]:
    """``data`` as its differences from ``base`` or as a delta with ``base`` as prefix, whichever is shorter.

    Below level 9, and for more than 16 MiB, it is always a delta.
    """
    made = None
    if level >= _DIFFERENCE_LEVEL and len(data) <= DIFFERENCE_LIMIT_BYTES:
        made = compress_difference(data, base, level)
        if made is not None and made[1]:
            return FrameKind.DIFFERENCE, made[0]
    delta = compress_delta(data, base, level)
    if made is not None and len(made[0]) < len(delta):
        return FrameKind.DIFFERENCE, made[0]
    return FrameKind.DELTA, delta


def compress_dictionary(data: bytes | memoryview, dictionary: bytes | memoryview, level: int) -> bytes:
    """``data`` as one zstd frame with a trained dictionary."""
    trained = zstandard.ZstdCompressionDict(dictionary)
    return zstandard.ZstdCompressor(level=level, dict_data=trained).compress(data)


def join_ranges(ranges: Sequence[ByteRange]) -> tuple[ByteRange, ...]:
    """The ascending ``ranges``, with neighbours that touch made one and empty ones left out."""
    out: list[ByteRange] = []
    for span in ranges:
        if out and out[-1].stop == span.start:
            out[-1] = ByteRange(out[-1].start, span.stop)
        elif len(span):
            out.append(span)
    return tuple(out)


def cut_ranges(ranges: Sequence[ByteRange], most_bytes: int) -> list[tuple[ByteRange, ...]]:
    """``ranges`` in their order, in parts of ``most_bytes`` together; the last part may have less."""
    parts: list[tuple[ByteRange, ...]] = []
    part: list[ByteRange] = []
    left = most_bytes
    for span in ranges:
        start = span.start
        while start < span.stop:
            stop = min(span.stop, start + left)
            part.append(ByteRange(start, stop))
            left -= stop - start
            start = stop
            if not left:
                parts.append(tuple(part))
                part, left = [], most_bytes
    return [*parts, tuple(part)] if part else parts
