"""Decodes the frames of a packed corpus (`reducto.codec.frames`) from front to back, as far as they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import IO, cast

import zstandard

from reducto.codec import zstd_prefix
from reducto.codec.difference_frame import open_difference
from reducto.codec.frames import WINDOW_LOG_LIMIT, FrameKind
from reducto.errors import Corrupt, ProofFailed
from reducto.kernel.buffers import copy_bytes, same_bytes, uncleared
from reducto.kernel.difference import DifferenceReader

#: Stored bytes given to zstd at a time.
_READ_BYTES = 1 << 17
#: Plain bytes that a proof decodes and compares at a time.
_PROOF_BYTES = 4 << 20


class FrameReader:
    """Decodes one frame from front to back, as far as it is asked to. Not thread-safe.

    ``base`` is the delta base or the dictionary. ``arrived(n)`` returns when the first ``n`` bytes of ``stored`` may be
    read. A reader holds up to 128 MiB and must take part in no reference cycle, so that it goes when the last reference
    to it goes and not when the garbage collector runs.
    """

    def __init__(
        self,
        kind: FrameKind,
        stored: bytes | memoryview,
        base: bytes | memoryview,
        plain_length: int,
        arrived: Callable[[int], None] | None = None,
    ) -> None:
        self._left = plain_length
        arrived = arrived or all_arrived
        self._content: _RawContent | _ZstdContent | _DifferenceContent
        if kind is FrameKind.RAW:
            self._content = _RawContent(stored, arrived)
        elif kind is FrameKind.DIFFERENCE:
            self._content = _DifferenceContent(stored, arrived, base, plain_length)
        else:
            self._content = _ZstdContent(kind, stored, base, arrived)

    def read_into(self, out: memoryview) -> None:
        """Fills ``out`` with the next plain bytes. Raises `Corrupt`."""
        if len(out) > self._left:
            raise Corrupt("a frame of a packed corpus holds less than its table says")
        self._left -= len(out)
        self._content.read_into(out)


def all_arrived(_: int) -> None:
    """The ``arrived`` of stored bytes that are all there: it returns at once."""


def prove_frame(
    kind: FrameKind, stored: bytes | memoryview, base: bytes | memoryview, data: bytes | memoryview
) -> None:
    """Decodes ``stored`` and compares it with ``data``. Raises `ProofFailed`."""
    reader = FrameReader(kind, stored, base, len(data))
    buffer = uncleared(min(len(data), _PROOF_BYTES))
    source = memoryview(data)
    for at in range(0, len(data), len(buffer) or 1):
        piece = buffer[: min(len(buffer), len(data) - at)]
        reader.read_into(piece)
        if not same_bytes(piece, source[at : at + len(piece)]):
            raise ProofFailed("a compressed frame does not decode to what was compressed")


class LongReaders:
    """How many readers of long frames may stay open at once. Each holds zstd's window: up to 128 MiB of memory."""

    def __init__(self, limit: int = 2) -> None:
        self._free = threading.Semaphore(limit)
        self.without_slot = threading.Lock()
        """Held while a long frame is decoded to its end because no slot was free, so that one does so at a time."""

    def slot(self) -> object | None:
        """A slot, which is free again when nothing refers to it any more; None when all are taken."""
        return _Slot(self._free) if self._free.acquire(blocking=False) else None


class _Slot:
    def __init__(self, free: threading.Semaphore) -> None:
        self._free = free

    def __del__(self) -> None:
        self._free.release()


class _ArrivingStream:
    """A frame's stored bytes as a stream that waits for bytes which have not arrived yet.

    zstd's reader gets this object and not the memory view, which it would keep exported: `reducto.kernel.buffers.hold`
    says why that is harmful.
    """

    def __init__(self, stored: bytes | memoryview, arrived: Callable[[int], None]) -> None:
        self._stored, self._arrived, self._at = stored, arrived, 0

    def read(self, length: int) -> bytes:
        """The next at most ``length`` bytes; empty at the end."""
        start, self._at = self._at, min(self._at + length, len(self._stored))
        self._arrived(self._at)
        return bytes(self._stored[start : self._at])


class _RawContent:
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


class _ZstdContent:
    """A zstd frame: alone, with a dictionary, or with a delta base as its prefix."""

    def __init__(
        self,
        kind: FrameKind,
        stored: bytes | memoryview,
        base: bytes | memoryview,
        arrived: Callable[[int], None],
    ) -> None:
        source = cast(IO[bytes], _ArrivingStream(stored, arrived))
        self._reader: zstd_prefix.PrefixReader
        if kind is FrameKind.DELTA:
            self._reader = zstd_prefix.open_reader(source, base, WINDOW_LOG_LIMIT)
            return
        dictionary = zstandard.ZstdCompressionDict(base) if kind is FrameKind.DICTIONARY else None
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << WINDOW_LOG_LIMIT)
        self._reader = cast(zstd_prefix.PrefixReader, decompressor.stream_reader(source, read_size=_READ_BYTES))

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


class _DifferenceContent:
    """Differences from a delta base. All stored bytes are needed before the first plain byte."""

    def __init__(
        self,
        stored: bytes | memoryview,
        arrived: Callable[[int], None],
        base: bytes | memoryview,
        plain_length: int,
    ) -> None:
        self._stored, self._arrived, self._base, self._plain_length = stored, arrived, base, plain_length
        self._reader: DifferenceReader | None = None

    def read_into(self, out: memoryview) -> None:
        if self._reader is None:
            self._arrived(len(self._stored))
            self._reader = open_difference(self._stored, self._base, self._plain_length)
        self._reader.read_into(out)
