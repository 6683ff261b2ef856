"""Plain bytes out of whatever a file holds: gzip and zstd are undone, everything else passes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

import zstandard

from reducto.errors import Corrupt, LimitExceeded

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PIECE_BYTES = 1 << 20
#: More than any layer or archive that is worth a place in a corpus; stops decompression bombs.
PLAIN_LIMIT_BYTES = 1 << 40


def plain_pieces(pieces: Iterable[bytes], name: str, limit_bytes: int = PLAIN_LIMIT_BYTES) -> Iterator[bytes]:
    """The plain bytes of a stream. Raises `Corrupt` for damaged compression, `LimitExceeded` for too much of it."""
    stream = iter(pieces)
    head = b""
    for piece in stream:
        head += piece
        if len(head) >= len(ZSTD_MAGIC):
            break
    if head.startswith(GZIP_MAGIC):
        decoded = _gunzip(head, stream, name)
    elif head.startswith(ZSTD_MAGIC):
        decoded = _unzstd(head, stream, name)
    else:
        decoded = _chain(head, stream)
    length = 0
    for piece in decoded:
        length += len(piece)
        if length > limit_bytes:
            raise LimitExceeded(f"{name}: more than {limit_bytes} plain bytes")
        yield piece


def _chain(head: bytes, stream: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from stream


def _gunzip(head: bytes, stream: Iterator[bytes], name: str) -> Iterator[bytes]:
    """All members; what follows the last and is no member (padding) is left out, as gzip(1) does."""
    inflate = zlib.decompressobj(wbits=31)
    data = head
    try:
        while True:
            while data:
                plain = inflate.decompress(data, PIECE_BYTES)
                if plain:
                    yield plain
                data = inflate.unconsumed_tail
                if inflate.eof:
                    data = inflate.unused_data
                    while len(data) < 2 and (more := next(stream, b"")):
                        data += more
                    if not data.startswith(GZIP_MAGIC):
                        return
                    inflate = zlib.decompressobj(wbits=31)
            data = next(stream, b"")
            if not data:
                break
    except zlib.error as error:
        raise Corrupt(f"{name}: damaged gzip: {error}") from None
    raise Corrupt(f"{name}: gzip ends in the middle")


def _unzstd(head: bytes, stream: Iterator[bytes], name: str) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(
        cast(IO[bytes], _Stream(head, stream)), read_across_frames=True
    )
    try:
        while plain := reader.read(PIECE_BYTES):
            yield plain
    except zstandard.ZstdError as error:
        raise Corrupt(f"{name}: damaged zstd: {error}") from None


class _Stream:
    """Pieces as a file, which is what python-zstandard reads."""

    def __init__(self, head: bytes, stream: Iterator[bytes]) -> None:
        self._rest = head
        self._stream = stream

    def read(self, count: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._stream, b"")
        piece, self._rest = self._rest[:count], self._rest[count:]
        return piece


def file_pieces(file: Any) -> Iterator[bytes]:
    """A file's bytes from where it stands."""
    while piece := file.read(PIECE_BYTES):
        yield piece
