"""Cuts a source's plain bytes into the same chunks that the codec would cut them into when it encodes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from corpus_builder.sources import PlainSource
from reducto.kernel.chunking import FORCED, PIECE_BYTES, Chunker, ChunkParams, TarWalk


@dataclass(frozen=True, slots=True)
class TarMember:
    """A tar member: where its header and content begin in the plain stream, its length, and the hash of its path."""

    header: int
    content: int
    length: int
    path_hash: int

    @property
    def stop(self) -> int:
        """The offset at which the member's content ends."""
        return self.content + self.length


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk and its offset in the plain stream.

    ``forced`` means that the chunk ends because of an anchor, the largest length or the end of the data, and not
    because of its content.
    """

    offset: int
    fingerprint: int
    length: int
    forced: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Consecutive chunks with their bytes. ``members`` are the tar members that were found since the previous cut."""

    offset: int
    data: memoryview
    chunks: list[Chunk]
    members: list[TarMember]

    def bytes_of(self, chunk: Chunk) -> memoryview:
        """The bytes of one of this cut's chunks. They are valid until the next cut."""
        at = chunk.offset - self.offset
        return self.data[at : at + chunk.length]


def cut(source: PlainSource, chunking: ChunkParams) -> Iterator[Cut]:
    """All chunks of a source in order, in cuts of about 8 MiB (`PIECE_BYTES`) or less."""
    cutter = _Cutter(source, chunking)
    for piece in source.pieces():
        yield from cutter.feed(piece)
    yield from cutter.finish()


class _Cutter:
    """Collects the pieces of one source into a window and cuts the window into chunks."""

    def __init__(self, source: PlainSource, chunking: ChunkParams) -> None:
        self._chunker = Chunker(chunking)
        self._walk = TarWalk()
        self._window = bytearray()
        self._offset = 0
        self._members: list[TarMember] = []
        self._anchors: list[int] = []
        self._source_anchors = source.anchors()
        self._next_source_anchor = next(self._source_anchors, None)

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
        while self._next_source_anchor is not None and self._next_source_anchor <= end:
            self._anchors.append(self._next_source_anchor)
            self._next_source_anchor = next(self._source_anchors, None)
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
