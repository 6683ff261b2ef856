"""Cuts a source's plain bytes as the codec cuts what it encodes: same chunker, same anchors, same chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from corpus_builder.sources import PlainSource
from reducto.kernel.chunking import FORCED, PIECE_BYTES, Chunker, ChunkParams, TarWalk


@dataclass(frozen=True, slots=True)
class TarMember:
    """A tar member, in offsets of the stream."""

    header: int
    content: int
    length: int
    path_hash: int

    @property
    def stop(self) -> int:
        """Where its content ends."""
        return self.content + self.length


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk, in offsets of the stream. ``forced``: it ends there whatever its content (an anchor, mostly)."""

    offset: int
    fingerprint: int
    length: int
    forced: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Consecutive chunks with their bytes. ``members`` are those whose header was seen by now and not before."""

    offset: int
    data: memoryview
    chunks: list[Chunk]
    members: list[TarMember]

    def bytes_of(self, chunk: Chunk) -> memoryview:
        """The bytes of one of ``chunks``; valid until the next cut."""
        at = chunk.offset - self.offset
        return self.data[at : at + chunk.length]


def cut(source: PlainSource, chunking: ChunkParams) -> Iterator[Cut]:
    """All chunks of a source in order, some megabytes at a time."""
    cutter = _Cutter(source, chunking)
    for piece in source.pieces():
        yield from cutter.feed(piece)
    yield from cutter.finish()


class _Cutter:
    def __init__(self, source: PlainSource, chunking: ChunkParams) -> None:
        self._chunker = Chunker(chunking)
        self._walk = TarWalk()
        self._window = bytearray()
        self._offset = 0
        self._members: list[TarMember] = []
        self._anchors: list[int] = []
        self._given = source.anchors()
        self._next_given = next(self._given, None)

    def feed(self, piece: bytes) -> Iterator[Cut]:
        for member in self._walk.feed(piece):
            self._members.append(TarMember(*member))
            self._anchors += member[:2]
        self._window += piece
        if len(self._window) >= PIECE_BYTES:
            yield from self._cut(final=False)

    def finish(self) -> Iterator[Cut]:
        yield from self._cut(final=True)

    def _cut(self, *, final: bool) -> Iterator[Cut]:
        end = self._offset + len(self._window)
        while self._next_given is not None and self._next_given <= end:
            self._anchors.append(self._next_given)
            self._next_given = next(self._given, None)
        self._anchors = sorted(set(self._anchors))
        window, at = memoryview(bytes(self._window)), 0
        while at < len(window):
            base = self._offset + at
            anchors = [a - base for a in self._anchors if base < a <= end]
            table = self._chunker.scan(window[at:], final=final, anchors=anchors)
            if not table.consumed:
                break
            chunks = [
                Chunk(base + o, fingerprint, length, bool(flags & FORCED)) for o, fingerprint, length, flags in table
            ]
            members, self._members = self._members, []
            yield Cut(base, window[at : at + table.consumed], chunks, members)
            at += table.consumed
        self._window = bytearray(window[at:])
        self._offset += at
        self._anchors = [a for a in self._anchors if a > self._offset]
