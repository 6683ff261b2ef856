"""Packs a corpus again at another level. Its plain bytes, and so its identity, stay; only frames change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from reducto.codec.frames import (
    FRAME_LIMIT_BYTES,
    RELATED,
    Frame,
    FrameKind,
    compress_dictionary,
    compress_literal,
    compress_related,
    join_ranges,
    prove,
)
from reducto.codec.packed import PackedTable, write_packed
from reducto.codec.unpacked import ReadableCorpus, UnpackedCorpus, gather
from reducto.mapped import joined
from reducto.values import CorpusId

_WINDOW_LOG = 27


def repack(
    packed: memoryview,
    sources: Mapping[CorpusId, ReadableCorpus],
    into: Path,
    spool_dir: str | os.PathLike[str],
    level: int,
) -> int:
    """Writes the corpus in ``packed`` to ``into`` with frames of zstd ``level``; returns the new length in bytes.

    Every frame is decoded again and compared; one that would grow stays as it was. ``sources`` holds the parents.
    Raises `Corrupt`, `SegmentCorrupt`, `CorpusMissing`, `ProofFailed`.
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
                made, stored = _again(group, source, gather(sources, table.parents, group[0]), level, spool_dir)
                smaller = made.stored_length < length
                spool.write(stored if smaller else old)
                frames += [made] if smaller else group
            spool.seek(0)
            new = PackedTable(
                table.plain_length, table.dictionary, table.segment_hashes, table.parents, tuple(frames),
                table.chunking, table.members, table.anchors,
            )  # fmt: skip
            with into.open("xb") as out:
                return write_packed(out, new, spool)
    finally:
        source.close()


def _groups(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Frames that become one: literals that follow each other, which were made short to be made fast."""
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
    prefix: bytes | memoryview,
    level: int,
    spool_dir: str | os.PathLike[str],
) -> tuple[Frame, bytes | memoryview]:
    """The group as one frame, proved, and its stored bytes."""
    first = group[0]
    ranges = join_ranges([span for frame in group for span in frame.ranges])
    views = [source.view(span.start, len(span)) for span in ranges]
    data = views[0] if len(views) == 1 else joined(spool_dir, views)
    kind, twins = first.kind, first.twins
    if kind in RELATED:
        kind, stored = compress_related(data, prefix, level)
    elif kind is FrameKind.DICTIONARY:
        stored = compress_dictionary(data, prefix, level)
    else:
        kind, stored, twins, prefix = FrameKind.LITERAL, compress_literal(data, level, _WINDOW_LOG), (), b""
    prove(kind, stored, prefix, data)
    return Frame(kind, ranges, len(stored), twins), stored
