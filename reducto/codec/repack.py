"""Packs a corpus again at another level. Its plain bytes, and so its identity, stay; only frames change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from reducto.codec.frame_reader import prove_frame
from reducto.codec.frames import (
    FRAME_LIMIT_BYTES,
    NEED_DELTA_BASE,
    Frame,
    FrameKind,
    compress_against,
    compress_dictionary,
    compress_literal,
    join_ranges,
)
from reducto.codec.packed import PackedTable, write_packed
from reducto.codec.unpacked import ReadableCorpus, UnpackedCorpus, base_of
from reducto.mapped import joined
from reducto.values import CorpusId


def repack(
    packed: memoryview,
    sources: Mapping[CorpusId, ReadableCorpus],
    into: Path,
    spool_dir: str | os.PathLike[str],
    level: int,
) -> int:
    """Writes the corpus in ``packed`` to ``into`` with frames of zstd ``level``; returns the new length in bytes.

    Every frame is decoded again and compared; one that would grow stays as it was. ``sources`` holds the parents.
    Raises `Corrupt`, `SegmentCorrupt`, `CorpusMissing`, `ProofFailed`, `FileExistsError`.
    """
    table, at = PackedTable.parse(packed)
    source = UnpackedCorpus(packed, sources, spool_dir)
    frames: list[Frame] = []
    try:
        with tempfile.TemporaryFile(dir=spool_dir) as spool:
            for group in _groups(table.frames):
                length = sum(frame.stored_length for frame in group)
                old = packed[at : at + length]
                at += length
                made, stored = _again(group, source, base_of(group[0], table.parents, sources), level, spool_dir)
                smaller = made.stored_length < length
                spool.write(stored if smaller else old)
                frames += [made] if smaller else group
            spool.seek(0)
            new = PackedTable(
                table.plain_length, table.dictionary, table.segment_hashes, table.parents, tuple(frames), table.index
            )
            with into.open("xb") as out:
                return write_packed(out, new, spool)
    finally:
        source.close()


def _groups(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """The frames that become one: literals that follow each other. They were made short because that is faster."""
    group: list[Frame] = []
    for frame in frames:
        total = sum(each.plain_length for each in (*group, frame))
        if group and not (group[-1].kind is frame.kind is FrameKind.LITERAL and total <= FRAME_LIMIT_BYTES):
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _again(
    group: Sequence[Frame],
    source: UnpackedCorpus,
    base: bytes | memoryview,
    level: int,
    spool_dir: str | os.PathLike[str],
) -> tuple[Frame, bytes | memoryview]:
    """The group as one frame, proved, and its stored bytes."""
    first = group[0]
    ranges = join_ranges([span for frame in group for span in frame.ranges])
    views = [source.view(span.start, len(span)) for span in ranges]
    data = views[0] if len(views) == 1 else joined(spool_dir, views)
    kind, bases = first.kind, first.bases
    if kind in NEED_DELTA_BASE:
        kind, stored = compress_against(data, base, level)
    elif kind is FrameKind.DICTIONARY:
        stored = compress_dictionary(data, base, level)
    else:
        kind, stored, bases, base = FrameKind.LITERAL, compress_literal(data, level), (), b""
    prove_frame(kind, stored, base, data)
    return Frame(kind, ranges, len(stored), bases), stored
