"""Writes kept chunks into corpus files, a new file whenever one is full."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from corpus_builder.catalogue import Catalogue, CorpusPart
from corpus_builder.cutting import Chunk, Cut, TarMember
from corpus_builder.dictionary import DictionaryTrainer
from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.info import CorpusInfo
from reducto.kernel.chunking import ChunkParams
from reducto.keys import Signer


@dataclass(frozen=True, slots=True)
class PartOptions:
    """How corpus files are written. ``split_bytes`` bounds the plain bytes of one file."""

    output: Path
    chunking: ChunkParams = field(default_factory=ChunkParams)
    split_bytes: int = 64 << 30
    signer: Signer | None = None
    name: str = ""
    train_dictionary: bool = True


def part_path(output: Path, ordinal: int) -> Path:
    """Where the n-th file of a corpus lies (from 1): ``golden.rc``, ``golden-002.rc``, ``golden-003.rc`` ..."""
    return output if ordinal == 1 else output.with_name(f"{output.stem}-{ordinal:03}{output.suffix}")


class PartWriter:
    """The corpus in the making. `finish` publishes; leaving the ``with`` block without it leaves no unfinished file."""

    def __init__(self, catalogue: Catalogue, options: PartOptions, expected_bytes: int) -> None:
        self._catalogue = catalogue
        self._options = options
        self._expected_bytes = expected_bytes
        self._writer: IndexedCorpusWriter | None = None
        self._trainer = DictionaryTrainer(expected_bytes)
        self._members: deque[TarMember] = deque()
        self._source_end = -1
        self._forced = True
        self.number = 0
        """The catalogue's number of the file that is being written."""
        self.published: list[CorpusPart] = []

    def start_source(self) -> None:
        """What comes next does not continue what came last."""
        self._members.clear()
        self._source_end, self._forced = -1, True

    def note_members(self, members: list[TarMember]) -> None:
        """Takes the members that begin in what comes next, in order."""
        self._members += members

    def add(self, cut: Cut, chunk: Chunk) -> None:
        """Keeps a chunk. Chunks of one source come in order."""
        writer = self._open(chunk.length)
        offset = writer.plain_length
        seam = self._forced or chunk.offset != self._source_end
        data = cut.bytes_of(chunk)
        writer.append(data, anchors=[offset] if seam else [])
        self._note_members(writer, chunk, offset)
        self._source_end, self._forced = chunk.offset + chunk.length, chunk.forced
        self._trainer.offer(chunk.fingerprint, data)

    def _note_members(self, writer: IndexedCorpusWriter, chunk: Chunk, offset: int) -> None:
        """Notes every member whose first kept byte is in ``chunk``."""
        stop = chunk.offset + chunk.length
        while self._members and self._members[0].header < stop:
            member = self._members.popleft()
            if member.stop > chunk.offset:
                writer.note_member(member.path_hash, offset + max(0, member.header - chunk.offset))

    def _open(self, more: int) -> IndexedCorpusWriter:
        if self._writer is not None and self._writer.plain_length + more > self._options.split_bytes:
            self.finish()
        if self._writer is None:
            self.number = self._catalogue.new_part()
            path = self._next_path()
            self._writer = IndexedCorpusWriter(path, chunking=self._options.chunking, signer=self._options.signer)
            self._path = path
            self._trainer = DictionaryTrainer(min(self._expected_bytes, self._options.split_bytes))
            self._source_end, self._forced = -1, True
        return self._writer

    def _next_path(self) -> Path:
        taken = {part.path.resolve() for part in self._catalogue.parts}
        ordinal = 1
        while part_path(self._options.output, ordinal).resolve() in taken:
            ordinal += 1
        return part_path(self._options.output, ordinal)

    def finish(self) -> None:
        """Publishes the file that is being written, if there is one, and tells the catalogue."""
        if self._writer is None:
            return
        dictionary = self._trainer.train() if self._options.train_dictionary else b""
        identity = self._writer.finish(dictionary=dictionary, info=CorpusInfo(self._options.name))
        part = CorpusPart(self.number, self._path, identity)
        self._catalogue.register(part)
        self.published.append(part)
        self._writer = None

    def close(self) -> None:
        """Gives up what was not published. Idempotent."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
