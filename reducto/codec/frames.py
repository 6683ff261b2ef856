"""One zstd frame of a packed corpus: new bytes, compressed alone, with a dictionary, or against their twins."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, cast

import zstandard

from reducto.codec import zstd_prefix
from reducto.codec.difference_frame import DIFFERENCE_LIMIT_BYTES, compress_difference, open_difference
from reducto.errors import Corrupt, ProofFailed
from reducto.kernel.buffers import copy_bytes, same_bytes, uncleared
from reducto.kernel.difference import DifferenceReader
from reducto.kernel.matching import Extent
from reducto.values import ByteRange

#: Plain bytes of the longest frame.
FRAME_LIMIT_BYTES = 128 << 20
#: Twins of the frame with the most; an encoder takes less.
PREFIX_LIMIT_BYTES = 64 << 20
_WINDOW_LOG_LIMIT = 27
# Wider tables than zstd takes by itself: with a prefix of megabytes its own are too small to remember it.
_DELTA_HASH_LOG = 22
_FAST_LEVELS = 4
# From here on there is time to look for differences first.
_DIFFERENCE_LEVEL = 9


class FrameKind(enum.IntEnum):
    """How a frame was made; the values are stored."""

    RAW = 0
    LITERAL = 1
    DELTA = 2
    DICTIONARY = 3
    DIFFERENCE = 4


#: Frames that need their twins to be read.
RELATED = (FrameKind.DELTA, FrameKind.DIFFERENCE)


@dataclass(frozen=True, slots=True)
class Frame:
    """Stored bytes of the plain ranges ``ranges`` of a corpus, taken one after the other.

    ``twins`` are stretches of parent corpora that, joined, are the zstd prefix of a DELTA frame, or what a DIFFERENCE
    frame differs from; for a DICTIONARY frame the one stretch's reference names the parent whose trained dictionary is
    used.
    """

    kind: FrameKind
    ranges: tuple[ByteRange, ...]
    stored_length: int
    twins: tuple[Extent, ...] = ()

    @property
    def plain_length(self) -> int:
        return sum(map(len, self.ranges))


def _literal_parameters(level: int, length: int, window_log: int, threads: int) -> zstandard.ZstdCompressionParameters:
    long = length > 1 << 20
    log = min(window_log, max(10, (length - 1).bit_length())) if length else 10
    return zstandard.ZstdCompressionParameters.from_level(
        level, source_size=length, window_log=log, enable_ldm=int(long), threads=threads if length > 32 << 20 else 0
    )


def compress_literal(data: bytes | memoryview, level: int, window_log: int = 27, threads: int = 0) -> bytes:
    """``data`` as one zstd frame with a window over all of it (up to ``2**window_log``)."""
    parameters = _literal_parameters(level, len(data), window_log, threads)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _delta_parameters(level: int, length: int) -> zstandard.ZstdCompressionParameters:
    log = max(17, min(_WINDOW_LOG_LIMIT, length.bit_length()))
    wide = min(_DELTA_HASH_LOG, log)
    if level < _FAST_LEVELS:
        return zstandard.ZstdCompressionParameters(
            window_log=log, hash_log=wide, chain_log=wide, search_log=1, min_match=6, target_length=1,
            strategy=zstandard.STRATEGY_FAST, format=zstandard.FORMAT_ZSTD1,
        )  # fmt: skip
    return zstandard.ZstdCompressionParameters.from_level(level, window_log=log, hash_log=wide, chain_log=wide)


def compress_delta(data: bytes | memoryview, prefix: bytes | memoryview, level: int) -> bytes | memoryview:
    """``data`` as one zstd frame that may refer to ``prefix`` (raw content), which decoding needs as well."""
    return zstd_prefix.compress(data, prefix, _delta_parameters(level, len(data) + len(prefix)))


def compress_related(
    data: bytes | memoryview, twins: bytes | memoryview, level: int
) -> tuple[FrameKind, bytes | memoryview]:
    """``data`` by its differences from ``twins`` or as a delta with them as prefix, whichever is shorter."""
    made = None
    if level >= _DIFFERENCE_LEVEL and len(data) <= DIFFERENCE_LIMIT_BYTES:
        made = compress_difference(data, twins, level)
        if made is not None and made[1]:
            return FrameKind.DIFFERENCE, made[0]
    delta = compress_delta(data, twins, level)
    if made is not None and len(made[0]) < len(delta):
        return FrameKind.DIFFERENCE, made[0]
    return FrameKind.DELTA, delta


def compress_dictionary(data: bytes | memoryview, dictionary: bytes | memoryview, level: int) -> bytes:
    """``data`` as one zstd frame with a trained dictionary."""
    trained = zstandard.ZstdCompressionDict(dictionary)
    return zstandard.ZstdCompressor(level=level, dict_data=trained).compress(data)


def at_hand(_: int) -> None:
    """Stored bytes that are all there."""


class _Arriving:
    """A frame's stored bytes as a stream that waits for those which are still on their way.

    Given a memory view itself, zstd's reader would keep it exported: see `reducto.kernel.buffers.hold`.
    """

    def __init__(self, stored: bytes | memoryview, arrived: Callable[[int], None]) -> None:
        self._stored, self._arrived, self._at = stored, arrived, 0

    def read(self, length: int) -> bytes:
        """The next at most ``length`` bytes; empty at the end."""
        start, self._at = self._at, min(self._at + length, len(self._stored))
        self._arrived(self._at)
        return bytes(self._stored[start : self._at])


class LongReaders:
    """How many readers of long frames stay open at once. Each holds zstd's window: up to 128 MiB of memory."""

    def __init__(self, limit: int = 2) -> None:
        self._free = threading.Semaphore(limit)
        self.alone = threading.Lock()
        """Held by whoever decodes a long frame all at once, since no place is free."""

    def place(self) -> object | None:
        """A place, free again when nobody refers to it any more; None when all are taken."""
        return _Place(self._free) if self._free.acquire(blocking=False) else None


class _Place:
    def __init__(self, free: threading.Semaphore) -> None:
        self._free = free

    def __del__(self) -> None:
        self._free.release()


class _Raw:
    """Bytes that were stored as they are."""

    def __init__(self, stored: bytes | memoryview, arrived: Callable[[int], None]) -> None:
        self._stored, self._arrived, self._at = stored, arrived, 0

    def read_into(self, out: memoryview) -> None:
        self._arrived(min(self._at + len(out), len(self._stored)))
        piece = self._stored[self._at : self._at + len(out)]
        if len(piece) != len(out):
            raise Corrupt("a raw frame of a packed corpus is cut off")
        copy_bytes(piece, out)
        self._at += len(out)


class _Zstd:
    """A zstd frame: alone, with a dictionary, or behind a prefix."""

    def __init__(
        self,
        kind: FrameKind,
        stored: bytes | memoryview,
        prefix: bytes | memoryview,
        arrived: Callable[[int], None],
    ) -> None:
        source = cast(IO[bytes], _Arriving(stored, arrived))
        self._reader: zstd_prefix.Reader
        if kind is FrameKind.DELTA:
            self._reader = zstd_prefix.open_reader(source, prefix, _WINDOW_LOG_LIMIT)
            return
        dictionary = zstandard.ZstdCompressionDict(prefix) if kind is FrameKind.DICTIONARY else None
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << _WINDOW_LOG_LIMIT)
        self._reader = cast(zstd_prefix.Reader, decompressor.stream_reader(source, read_size=1 << 17))

    def read_into(self, out: memoryview) -> None:
        done = 0
        try:
            while done < len(out):
                got = self._reader.readinto(out[done:])
                if not got:
                    raise Corrupt("a frame of a packed corpus ends early")
                done += got
        except zstandard.ZstdError as error:
            raise Corrupt(f"a frame of a packed corpus is damaged: {error}") from None


class _Difference:
    """A difference to the twins; all of it is needed before there is anything."""

    def __init__(
        self,
        stored: bytes | memoryview,
        arrived: Callable[[int], None],
        prefix: bytes | memoryview,
        plain_length: int,
    ) -> None:
        self._stored, self._arrived, self._prefix, self._plain_length = stored, arrived, prefix, plain_length
        self._reader: DifferenceReader | None = None

    def read_into(self, out: memoryview) -> None:
        if self._reader is None:
            self._arrived(len(self._stored))
            self._reader = open_difference(self._stored, self._prefix, self._plain_length)
        self._reader.read_into(out)


class FrameReader:
    """Decodes one frame from front to back, as far as it is asked to. Not thread-safe.

    ``arrived(n)`` returns when the first ``n`` bytes of ``stored`` may be read. A reader holds much memory and must
    take part in no reference cycle: it goes when the last reference to it goes.
    """

    def __init__(
        self,
        kind: FrameKind,
        stored: bytes | memoryview,
        prefix: bytes | memoryview,
        plain_length: int,
        arrived: Callable[[int], None] = at_hand,
    ) -> None:
        self._left = plain_length
        self._content: _Raw | _Zstd | _Difference
        if kind is FrameKind.RAW:
            self._content = _Raw(stored, arrived)
        elif kind is FrameKind.DIFFERENCE:
            self._content = _Difference(stored, arrived, prefix, plain_length)
        else:
            self._content = _Zstd(kind, stored, prefix, arrived)

    def read_into(self, out: memoryview) -> None:
        """Fills ``out`` with the next plain bytes. Raises `Corrupt`."""
        if len(out) > self._left:
            raise Corrupt("a frame of a packed corpus holds less than its table says")
        self._left -= len(out)
        self._content.read_into(out)


def prove(kind: FrameKind, stored: bytes | memoryview, prefix: bytes | memoryview, data: bytes | memoryview) -> None:
    """Decodes ``stored`` and compares it with ``data``. Raises `ProofFailed`."""
    reader = FrameReader(kind, stored, prefix, len(data))
    scratch = uncleared(min(len(data), 4 << 20))
    source = memoryview(data)
    for at in range(0, len(data), len(scratch) or 1):
        piece = scratch[: min(len(scratch), len(data) - at)]
        reader.read_into(piece)
        if not same_bytes(piece, source[at : at + len(piece)]):
            raise ProofFailed("a compressed frame does not decode to what was compressed")


def join_ranges(ranges: Sequence[ByteRange]) -> tuple[ByteRange, ...]:
    """Ascending ranges with neighbours that touch made one."""
    out: list[ByteRange] = []
    for span in ranges:
        if out and out[-1].stop == span.start:
            out[-1] = ByteRange(out[-1].start, span.stop)
        elif len(span):
            out.append(span)
    return tuple(out)


def cut_ranges(ranges: Sequence[ByteRange], most_bytes: int) -> list[tuple[ByteRange, ...]]:
    """``ranges`` in their order, in parts of ``most_bytes`` together; the last may have less."""
    parts: list[tuple[ByteRange, ...]] = []
    part: list[ByteRange] = []
    room = most_bytes
    for span in ranges:
        start = span.start
        while start < span.stop:
            stop = min(span.stop, start + room)
            part.append(ByteRange(start, stop))
            room -= stop - start
            start = stop
            if not room:
                parts.append(tuple(part))
                part, room = [], most_bytes
    return [*parts, tuple(part)] if part else parts
