"""Writes the chunks that are kept into corpus files, and begins a new file when one reaches its size limit."""

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
from reducto.trust.signatures import Signer


@dataclass(frozen=True, slots=True)
class PartOptions:
    """The options of corpus files. ``split_bytes`` limits the plain bytes of one file."""

    output: Path
    chunking: ChunkParams = field(default_factory=ChunkParams)
    split_bytes: int = 64 << 30
    signer: Signer | None = None
    name: str = ""
    train_dictionary: bool = True


def part_path(output: Path, ordinal: int) -> Path:
    """The path of a corpus's file number ``ordinal`` from 1: ``golden.rc``, ``golden-002.rc``, ``golden-003.rc``."""
    return output if ordinal == 1 else output.with_name(f"{output.stem}-{ordinal:03}{output.suffix}")


class PartWriter:
    """Writes the files of one corpus. `finish` publishes a file; `close` without it leaves no unfinished file."""

    def __init__(self, catalogue: Catalogue, options: PartOptions, expected_bytes: int) -> None:
        self._catalogue = catalogue
        self._options = options
        self._expected_bytes = expected_bytes
        self._writer: IndexedCorpusWriter | None = None
        self._trainer = DictionaryTrainer(expected_bytes)
        self._members: deque[TarMember] = deque()
        self._source_end = -1
        self._last_forced = True
        self.number = 0
        """The catalogue's number of the file that is being written; 0 before the first."""
        self.published: list[CorpusPart] = []

    def start_source(self) -> None:
        """Begins a new source: its first chunk does not follow the last chunk of the previous source."""
        self._members.clear()
        self._source_end, self._last_forced = -1, True

    def note_members(self, members: list[TarMember]) -> None:
        """Announces tar members that begin in the chunks to come, in order."""
        self._members += members

    def add(self, cut: Cut, chunk: Chunk) -> None:
        """Writes a chunk to the corpus. The chunks of one source must come in order."""
        writer = self._open(chunk.length)
        offset = writer.plain_length
        starts_anew = self._last_forced or chunk.offset != self._source_end
        data = cut.bytes_of(chunk)
        writer.append(data, anchors=[offset] if starts_anew else [])
        self._note_members(writer, chunk, offset)
        self._source_end, self._last_forced = chunk.offset + chunk.length, chunk.forced
        self._trainer.offer(chunk.fingerprint, data)

    def _note_members(self, writer: IndexedCorpusWriter, chunk: Chunk, offset: int) -> None:
        """Adds every tar member whose first byte in the corpus lies in ``chunk`` to the path index."""
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
            self._source_end, self._last_forced = -1, True
        return self._writer

    def _next_path(self) -> Path:
        taken = {part.path.resolve() for part in self._catalogue.parts}
        ordinal = 1
        while part_path(self._options.output, ordinal).resolve() in taken:
            ordinal += 1
        return part_path(self._options.output, ordinal)

    def finish(self) -> None:
        """Publishes the file that is being written, if there is one, and registers it in the catalogue."""
        if self._writer is None:
            return
        dictionary = self._trainer.train() if self._options.train_dictionary else b""
        identity = self._writer.finish(dictionary=dictionary, info=CorpusInfo(self._options.name))
        part = CorpusPart(self.number, self._path, identity)
        self._catalogue.register(part)
        self.published.append(part)
        self._writer = None

    def close(self) -> None:
        """Deletes the file that was not published. Idempotent."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
