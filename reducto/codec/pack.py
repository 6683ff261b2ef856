"""A mapped corpus as a packed one that depends on no other: short frames, so that a reader can fetch what it needs."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO

from reducto.codec.frames import Frame, FrameKind, compress_literal, prove
from reducto.codec.packed import PackedTable, write_packed
from reducto.corpus.reader import Corpus
from reducto.values import ByteRange
from reducto.workers import Submit

#: Plain bytes of a frame: what must be fetched and decoded to read anything in it.
FRAME_BYTES = 4 << 20
_IN_FLIGHT = 4


def pack_corpus(
    corpus: Corpus,
    out: BinaryIO,
    *,
    level: int,
    spool_dir: Path,
    submit: Submit | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> int:
    """Writes ``corpus`` packed at zstd ``level`` and returns the length. Every frame is decoded again and compared.

    Raises `SegmentCorrupt` if the corpus is damaged.
    """
    frames: list[Frame] = []
    with tempfile.TemporaryFile(dir=spool_dir) as spool:
        for frame, stored in _frames(corpus, level, submit):
            frames.append(frame)
            spool.write(stored)
            advance(frame.plain_length)
        spool.seek(0)
        members = tuple(sorted(corpus.paths, key=lambda member: member[1]))
        table = PackedTable(
            corpus.plain_length,
            corpus.dictionary,
            corpus.segment_hashes,
            (),
            tuple(frames),
            corpus.chunking,
            members,
            tuple(corpus.anchors()),
        )
        return write_packed(out, table, spool)


def _frames(corpus: Corpus, level: int, submit: Submit | None) -> Iterator[tuple[Frame, bytes]]:
    """Frames in order, some of them made ahead on workers."""
    pending: deque[Future[tuple[Frame, bytes]]] = deque()
    for start in range(0, corpus.plain_length, FRAME_BYTES):
        span = ByteRange(start, min(start + FRAME_BYTES, corpus.plain_length))
        if submit is None:
            yield _make(corpus, span, level)
            continue
        pending.append(submit(_make, corpus, span, level))
        if len(pending) == _IN_FLIGHT:
            yield pending.popleft().result()
    for future in pending:
        yield future.result()


def _make(corpus: Corpus, span: ByteRange, level: int) -> tuple[Frame, bytes]:
    data = corpus.view(span.start, len(span))
    kind, stored = FrameKind.LITERAL, compress_literal(data, level)
    if len(stored) >= len(data):
        kind, stored = FrameKind.RAW, bytes(data)
    prove(kind, stored, b"", data)
    return Frame(kind, (span,), len(stored)), stored
