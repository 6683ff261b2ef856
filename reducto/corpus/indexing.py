"""Writes a corpus with its tables, by cutting the plain bytes into chunks.

The tables follow from plain bytes, chunking parameters and anchors alone. So a corpus travels without its tables, and
they are made again where it arrives.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from reducto.corpus.corpus_format import SignatureBlock
from reducto.corpus.fingerprint_table import ENTRY
from reducto.corpus.info import CorpusInfo
from reducto.corpus.writer import CorpusWriter
from reducto.kernel.buffers import copy_bytes, uncleared
from reducto.kernel.chunking import LARGE, PIECE_BYTES, Chunker, ChunkParams
from reducto.trust.signatures import Signer
from reducto.values import CorpusId


class IndexedCorpusWriter:
    """A `CorpusWriter` that cuts what is appended into chunks. The same bytes in other pieces give the same file."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        chunking: ChunkParams | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._writer = CorpusWriter(path, chunking=chunking, signer=signer)
        self._chunker = Chunker(self._writer.chunking)
        self._open = uncleared(2 * PIECE_BYTES)
        self._open_length = 0
        self._open_offset = 0
        self._anchors: list[int] = []

    @property
    def plain_length(self) -> int:
        """How many plain bytes were appended, which is the offset of the next one."""
        return self._writer.plain_length

    def append(self, plain: bytes | memoryview, anchors: Sequence[int] = ()) -> int:
        """Appends plain bytes and returns the offset of the first of them.

        Chunks end at ``anchors``, which are ascending offsets in the corpus.
        """
        self.anchor(anchors)
        view = memoryview(plain).cast("B")
        offset = self.plain_length
        for at in range(0, len(view), PIECE_BYTES):
            piece = view[at : at + PIECE_BYTES]
            self._writer.append(piece)
            copy_bytes(piece, self._open[self._open_length :])
            self._open_length += len(piece)
            if self._open_length >= PIECE_BYTES:
                self._scan(final=False)
        return offset

    def anchor(self, plain_offsets: Iterable[int]) -> None:
        """Makes chunks end at these offsets, which ascend and are not below `plain_length`."""
        offsets = [offset for offset in plain_offsets if offset]
        self._anchors += offsets
        self._writer.note_anchors(offsets)

    def note_member(self, path_hash: int, plain_offset: int) -> None:
        """As `CorpusWriter.note_member`."""
        self._writer.note_member(path_hash, plain_offset)

    def _scan(self, *, final: bool) -> None:
        base = self._open_offset
        at = 0
        view = self._open[: self._open_length]
        while at < len(view):
            here = self._anchors[: bisect_right(self._anchors, base + len(view))]
            table = self._chunker.scan(view[at:], final=final, anchors=[a - base - at for a in here])
            if not table.consumed:
                break
            self._note(table, base + at)
            at += table.consumed
            del self._anchors[: bisect_right(self._anchors, base + at)]
        rest = bytes(view[at:])
        self._open[: len(rest)] = rest
        self._open_length = len(rest)
        self._open_offset = base + at

    def _note(self, table: Iterable[tuple[int, int, int, int]], base: int) -> None:
        chunks, hooks = bytearray(), bytearray()
        for offset, fingerprint, _, flags in table:
            entry = ENTRY.pack(fingerprint, base + offset)
            chunks += entry
            if flags & LARGE:
                hooks += entry
        self._writer.note_chunks(chunks)
        self._writer.note_hooks(hooks)

    def finish(
        self, *, dictionary: bytes = b"", info: CorpusInfo | None = None, signature: SignatureBlock | None = None
    ) -> CorpusId:
        """As `CorpusWriter.finish`."""
        self._scan(final=True)
        return self._writer.finish(dictionary=dictionary, info=info, signature=signature)

    def close(self) -> None:
        """As `CorpusWriter.close`."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
