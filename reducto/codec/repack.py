"""Packs a corpus again at another level. Its plain bytes, and so its identity, stay; only frames change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from reducto.codec.frames import (
    RELATED,
    Frame,
    FrameKind,
    compress_dictionary,
    compress_literal,
    compress_related,
    prove,
)
from reducto.codec.packed import PackedTable, write_packed
from reducto.codec.unpack import Source, Unpacked, gather
from reducto.model import CorpusId

_WINDOW_LOG = 27


def repack(
    packed: memoryview,
    sources: Mapping[CorpusId, Source],
    into: Path,
    spool_dir: str | os.PathLike[str],
    level: int,
) -> int:
    """Writes the corpus in ``packed`` to ``into`` with frames of zstd ``level``; returns the new length in bytes.

    Every frame is decoded again and compared; one that would grow stays as it was. ``sources`` holds the parents.
    Raises `Corrupt`, `SegmentCorrupt`, `CorpusMissing`, `ProofFailed`.
    """
    table, at = PackedTable.parse(packed)
    source = Unpacked(packed, sources, spool_dir)
    frames: list[Frame] = []
    try:
        with tempfile.TemporaryFile(dir=spool_dir) as spool:
            for frame in table.frames:
                old = packed[at : at + frame.stored_length]
                at += frame.stored_length
                kind, stored = _compress(frame, source, gather(sources, table.parents, frame), level)
                if len(stored) >= len(old):
                    kind, stored = frame.kind, bytes(old)
                spool.write(stored)
                twins = frame.twins if kind in RELATED or kind is frame.kind else ()
                frames.append(Frame(kind, frame.ranges, len(stored), twins))
            spool.seek(0)
            new = PackedTable(
                table.plain_length, table.dictionary, table.segment_hashes, table.parents, tuple(frames),
                table.chunking, table.members, table.anchors,
            )  # fmt: skip
            with into.open("xb") as out:
                return write_packed(out, new, spool)
    finally:
        source.close()


def _compress(frame: Frame, source: Unpacked, prefix: bytes, level: int) -> tuple[FrameKind, bytes]:
    views = [source.view(span.start, len(span)) for span in frame.ranges]
    data = views[0] if len(views) == 1 else b"".join(views)
    kind: FrameKind
    if frame.kind in RELATED:
        kind, stored = compress_related(data, prefix, level)
    elif frame.kind is FrameKind.DICTIONARY:
        kind, stored = frame.kind, compress_dictionary(data, prefix, level)
    else:
        kind, stored = FrameKind.LITERAL, compress_literal(data, level, _WINDOW_LOG)
        prefix = b""
    prove(kind, stored, prefix, data)
    return kind, stored
