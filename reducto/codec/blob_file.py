"""A rebuilt blob as a file that nobody reads before it is complete: written on all workers, with holes for zeros."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import cast

from blake3 import blake3

from reducto.codec.plain_decoder import PlainDecoder
from reducto.codec.unpacked import UnpackedCorpus
from reducto.corpus.corpus_format import SEGMENT_BYTES
from reducto.kernel.buffers import data_runs
from reducto.values import ByteRange
from reducto.workers import Submit

#: Plain bytes that one worker rebuilds and writes.
_PIECE_BYTES = 4 << 20
#: Pieces that workers are at while the caller hashes the one before.
_PIECES_AHEAD = 2
#: Bytes rebuilt and then written at a time: 256 KiB are still in the processor's cache when they are written.
_WRITE_BYTES = 256 << 10
#: Runs of zeros of at least this length are left out of the file, as zstd and cp do it.
_SPARSE_BLOCK_BYTES = 32 << 10


def write_pieces(descriptor: int, pieces: Iterable[bytes | memoryview], advance: Callable[[int], None]) -> None:
    """Writes the pieces one after the other to an empty file that has its final length. Raises `OSError`."""
    at = 0
    for piece in pieces:
        _write_at(descriptor, memoryview(piece), at)
        at += len(piece)
        advance(len(piece))


def write_plain(
    descriptor: int, plain: PlainDecoder, length: int, submit: Submit, advance: Callable[[int], None]
) -> blake3:
    """Writes ``length`` plain bytes to an empty file of that length and returns their hash, for the caller to check.

    Workers rebuild and write pieces; the calling thread hashes them in order. Raises as `PlainDecoder.read_into`, and
    `OSError`.
    """
    hasher = blake3()
    spare = [bytearray(_PIECE_BYTES) for _ in range(_PIECES_AHEAD + 2)]
    pending: deque[Future[memoryview]] = deque()
    done = threading.Event()
    unpacking = [submit(_unpack_ahead, plain.embedded, done)] if plain.embedded is not None else []

    def collect(left: int) -> None:
        while len(pending) > left:
            piece = pending.popleft().result()
            hasher.update(piece)
            advance(len(piece))
            spare.append(cast(bytearray, piece.obj))

    try:
        for start in range(0, length, _PIECE_BYTES):
            out = memoryview(spare.pop())[: length - start]
            pending.append(submit(_write_piece, descriptor, plain, start, out))
            collect(_PIECES_AHEAD)
        collect(0)
    finally:
        done.set()
        wait([future for future in (*unpacking, *pending) if not future.cancel()])
    return hasher


def _write_piece(descriptor: int, plain: PlainDecoder, start: int, out: memoryview) -> memoryview:
    table = plain.verify(start, len(out))
    for at in range(0, len(out), _WRITE_BYTES):
        part = out[at : at + _WRITE_BYTES]
        plain.copy_verified(table, start + at, part)
        _write_at(descriptor, part, start + at)
    return out


def _unpack_ahead(embedded: UnpackedCorpus, done: threading.Event) -> None:
    """Decodes the embedded corpus from its front until ``done``, so that pieces seldom wait for their frame."""
    for start in range(0, embedded.plain_length, SEGMENT_BYTES):
        if done.is_set():
            return
        embedded.ensure([ByteRange(start, min(start + SEGMENT_BYTES, embedded.plain_length))])


def _write_at(descriptor: int, piece: memoryview, offset: int) -> None:
    """Writes ``piece`` at ``offset`` of an empty file, leaving out its runs of zeros."""
    for start, stop in data_runs(piece, _SPARSE_BLOCK_BYTES):
        while start < stop:
            start += os.pwrite(descriptor, piece[start:stop], offset + start)
