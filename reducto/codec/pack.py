"""Packs corpora: a mapped one in short frames that depend on no other corpus, and the new bytes of an encoded blob."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from reducto.codec.frame_builder import FrameBuilder
from reducto.codec.frame_reader import prove_frame
from reducto.codec.frames import Frame, FrameKind, compress_literal
from reducto.codec.new_bytes import NewBytesSpool
from reducto.codec.packed import IndexInputs, PackedTable, read_table, write_packed
from reducto.corpus.reader import Corpus
from reducto.errors import ProofFailed
from reducto.kernel.chunking import ChunkParams
from reducto.kernel.matching import Extent
from reducto.values import ByteRange
from reducto.workers import Submit

#: Plain bytes of a frame: what must be fetched and decoded to read anything in it.
FRAME_BYTES = 4 << 20
#: Frames that are under way at once.
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

    ``advance`` is told the plain bytes of each frame that is done. Raises `SegmentCorrupt` if the corpus is damaged.
    """
    frames: list[Frame] = []
    with tempfile.TemporaryFile(dir=spool_dir) as spool:
        for frame, stored in _frames(corpus, level, submit):
            frames.append(frame)
            spool.write(stored)
            advance(frame.plain_length)
        spool.seek(0)
        members = tuple(sorted(corpus.paths, key=lambda member: member[1]))
        index = IndexInputs(corpus.chunking, members, tuple(corpus.anchors()))
        table = PackedTable(corpus.plain_length, corpus.dictionary, corpus.segment_hashes, (), tuple(frames), index)
        return write_packed(out, table, spool)


def pack_new_bytes(
    path: Path, new_bytes: NewBytesSpool, builder: FrameBuilder, chunking: ChunkParams
) -> tuple[Path | None, PackedTable | None, int]:
    """Writes the packed corpus of a blob's new bytes to ``path``. Returns path, table and length in bytes.

    Path and table are None if the blob has no new bytes. Raises `LimitExceeded`, `ProofFailed`, `OSError`.
    """
    if not new_bytes.length:
        return None, None, 0
    maker = builder.maker
    used = sorted(maker.used())
    number = {reference: at for at, reference in enumerate(used)}
    frames = tuple(
        replace(frame, bases=tuple(Extent(number[b.reference], b.offset, b.length) for b in frame.bases))
        for frame in maker.frames
    )
    members = tuple((path_hash, offset) for offset, path_hash in sorted(builder.new_members.items()))
    index = IndexInputs(chunking, members, tuple(offset for _, offset in members if offset))
    parents = tuple(maker.references[n - 1].corpus.id for n in used)
    table = PackedTable(new_bytes.length, b"", new_bytes.segment_hashes(), parents, frames, index)
    with path.open("wb") as out:
        length = write_packed(out, table, maker.spool)
    if read_table(path) != table:
        raise ProofFailed("the packed corpus's table does not read back as it was written")
    return path, table, length


def _frames(corpus: Corpus, level: int, submit: Submit | None) -> Iterator[tuple[Frame, bytes]]:
    """The frames in order with their stored bytes; with ``submit`` workers make up to four at once."""
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
    prove_frame(kind, stored, b"", data)
    return Frame(kind, (span,), len(stored)), stored
