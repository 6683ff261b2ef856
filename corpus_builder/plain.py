"""The plain bytes of a file: gzip and zstd are decompressed, anything else is passed on unchanged."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

import zstandard

from reducto.errors import Corrupt, LimitExceeded

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PIECE_BYTES = 1 << 20
#: 1 TiB is more than any layer or archive that a corpus is built from. The limit stops decompression bombs.
PLAIN_LIMIT_BYTES = 1 << 40


def plain_pieces(pieces: Iterable[bytes], name: str, limit_bytes: int = PLAIN_LIMIT_BYTES) -> Iterator[bytes]:
    """The plain bytes of a stream. ``name`` is for messages.

    Raises `Corrupt` if the compressed data are damaged, and `LimitExceeded` beyond ``limit_bytes`` plain bytes.
    """
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
    """The plain bytes of all gzip members. Bytes after the last member (padding) are ignored, as gzip(1) does."""
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
    """An iterator of pieces as a file object, because python-zstandard reads from file objects."""

    def __init__(self, head: bytes, stream: Iterator[bytes]) -> None:
        self._rest = head
        self._stream = stream

    def read(self, count: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._stream, b"")
        piece, self._rest = self._rest[:count], self._rest[count:]
        return piece


def file_pieces(file: Any) -> Iterator[bytes]:
    """A file's bytes from its present position to its end, in pieces of up to 1 MiB."""
    while piece := file.read(PIECE_BYTES):
        yield piece
