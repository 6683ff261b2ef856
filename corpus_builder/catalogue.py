"""The catalogue of all chunks that any build has seen, with which a corpus grows without reading old sources again.

It is a RocksDB directory with these keys and values:

    ``c`` + fingerprint (8, big-endian)   length, places, last source, part   (4 x u32, little-endian)
    ``s`` + BLAKE3 of a source's identity  JSON: number, name, counted, done
    ``p`` + part number (4, big-endian)    JSON: file, corpus id
    ``m``                                  JSON: format, chunking, counters

A chunk is published if the part that its entry names is registered. Every step may be interrupted and repeated: a
source that was begun keeps its number, and a chunk counts its last source only once. A part's number is never used
again, so entries that name a part which an interrupted build never registered mark no chunk as published.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blake3 import blake3
from rocksdict import Options, Rdict, WriteBatch

from corpus_builder.cutting import Chunk
from reducto.errors import Corrupt, UsageError
from reducto.kernel.chunking import ChunkParams
from reducto.values import CorpusId, parse_corpus_id

FORMAT = 1
_ENTRY = struct.Struct("<IIII")
_CHUNK, _SOURCE, _PART, _META = b"c", b"s", b"p", b"m"
_U32 = (1 << 32) - 1


@dataclass(slots=True)
class ChunkEntry:
    """What the catalogue knows of one chunk.

    ``length`` is in bytes, ``places`` is the number of images or files in which the chunk was found, ``last_source``
    is the number of the last source that holds it, and ``part`` the number of the corpus file that it was written to.
    """

    length: int
    places: int
    last_source: int
    part: int

    def pack(self) -> bytes:
        """The entry's 16 bytes in the database."""
        return _ENTRY.pack(self.length, min(self.places, _U32), self.last_source, self.part)


@dataclass(frozen=True, slots=True)
class SourceState:
    """The progress of one source.

    ``counted`` means that all its chunks were counted, ``done`` that all chunks it adds to the corpus are published.
    """

    number: int
    counted: bool
    done: bool


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """A published corpus file and its number in the catalogue."""

    number: int
    path: Path
    corpus_id: CorpusId


class Catalogue:
    """An open catalogue. Only one process at a time may open it, because RocksDB locks its directory."""

    def __init__(self, path: Path, chunking: ChunkParams) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(256)
        try:
            # The type is Any because rocksdict's stubs do not know that values are bytes in raw mode.
            self._db: Any = Rdict(str(path), options=options)
        except Exception as error:  # rocksdict raises Exception itself and no class of its own
            raise UsageError(f"catalogue {path} cannot be opened: {error}") from None
        self._meta: dict[str, Any] = self._read_meta(chunking)
        self._parts = dict(self._read_parts())

    def _read_meta(self, chunking: ChunkParams) -> dict[str, Any]:
        wanted = {"average_bytes": chunking.average_bytes, "lean_to_lines": chunking.lean_to_lines}
        stored = self._db.get(_META)
        if stored is None:
            return {"format": FORMAT, "chunking": wanted, "sources": 0, "parts": 0}
        meta: dict[str, Any] = json.loads(stored)
        if meta.get("format") != FORMAT:
            raise UsageError(f"catalogue {self.path} has format {meta.get('format')}, this release knows {FORMAT}")
        if meta["chunking"] != wanted:
            raise UsageError(f"catalogue {self.path} was begun with chunking {meta['chunking']}, not {wanted}")
        return meta

    # -- parts -------------------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[CorpusPart, ...]:
        """The published files, oldest first."""
        return tuple(self._parts.values())

    def _read_parts(self) -> Iterator[tuple[int, CorpusPart]]:
        for key, value in self._scan(_PART):
            number = int.from_bytes(key[1:], "big")
            stored = json.loads(value)
            path = Path(os.path.normpath(self.path / stored["file"]))
            if not path.is_file():
                raise UsageError(
                    f"catalogue {self.path} needs {path}, which is gone; put it back or begin a new catalogue"
                )
            yield number, CorpusPart(number, path, parse_corpus_id(stored["id"]))

    def new_part(self) -> int:
        """A part number that was never given out before."""
        self._meta["parts"] += 1
        self._db[_META] = json.dumps(self._meta).encode()
        return int(self._meta["parts"])

    def register(self, part: CorpusPart) -> None:
        """Stores that the part is published. From now on the chunks whose entries name it count as published."""
        relative = os.path.relpath(part.path.resolve(), self.path.resolve())
        self._db[_PART + part.number.to_bytes(4, "big")] = json.dumps({"file": relative, "id": part.corpus_id}).encode()
        self._db.flush_wal(sync=True)
        self._parts[part.number] = part

    # -- sources -----------------------------------------------------------------------------------------------

    def source(self, identity: str) -> SourceState | None:
        """The progress of a source; None if it was never begun."""
        stored = self._db.get(_source_key(identity))
        if stored is None:
            return None
        document = json.loads(stored)
        return SourceState(document["number"], document["counted"], document["done"])

    def begin(self, identity: str, name: str) -> int:
        """The source's number: the one it got when it was begun before, or else a new one."""
        known = self.source(identity)
        if known is not None:
            return known.number
        self._meta["sources"] += 1
        number = int(self._meta["sources"])
        batch = WriteBatch(raw_mode=True)
        batch.put(_META, json.dumps(self._meta).encode())
        document = {"number": number, "name": name, "counted": False, "done": False}
        batch.put(_source_key(identity), json.dumps(document).encode())
        self._db.write(batch)
        return number

    def counted(self, identity: str) -> None:
        """Stores that every chunk of the source was counted."""
        self._set(identity, {"counted": True})

    def done(self, identity: str) -> None:
        """Stores that every chunk which the source adds to the corpus is published."""
        self._set(identity, {"done": True})

    def _set(self, identity: str, facts: dict[str, bool]) -> None:
        key = _source_key(identity)
        self._db[key] = json.dumps(json.loads(self._db[key]) | facts).encode()

    @property
    def newest_source(self) -> int:
        """The highest number that was given to a source."""
        return int(self._meta["sources"])

    # -- chunks ------------------------------------------------------------------------------------------------

    def note(self, source: int, weight: int, chunks: Sequence[Chunk]) -> int:
        """Counts chunks of a source that was found in ``weight`` places; returns the bytes of unseen ones."""
        batch = WriteBatch(raw_mode=True)
        lengths = {chunk.fingerprint: chunk.length for chunk in chunks}
        entries = self.entries(list(lengths))
        unseen = 0
        for (fingerprint, length), entry in zip(lengths.items(), entries, strict=True):
            if entry is None:
                unseen += length
                entry = ChunkEntry(length, 0, 0, 0)
            elif entry.last_source == source:
                continue
            entry.places += weight
            entry.last_source = source
            batch.put(_chunk_key(fingerprint), entry.pack())
        self._db.write(batch)
        return unseen

    def entries(self, fingerprints: Sequence[int]) -> list[ChunkEntry | None]:
        """The entries of these chunks in the same order; None for a chunk that was never counted."""
        if not fingerprints:
            return []
        found = self._db.get([_chunk_key(f) for f in fingerprints])
        return [None if value is None else ChunkEntry(*_ENTRY.unpack(value)) for value in found]

    def put(self, entries: dict[int, ChunkEntry]) -> None:
        """Stores entries by fingerprint."""
        batch = WriteBatch(raw_mode=True)
        for fingerprint, entry in entries.items():
            batch.put(_chunk_key(fingerprint), entry.pack())
        self._db.write(batch)

    def is_published(self, entry: ChunkEntry) -> bool:
        """Whether a registered part holds the chunk."""
        return entry.part in self._parts

    def all_entries(self) -> Iterator[tuple[int, ChunkEntry]]:
        """Every chunk as (fingerprint, entry), in ascending order of fingerprints."""
        for key, value in self._scan(_CHUNK):
            if len(value) != _ENTRY.size:
                raise Corrupt(f"catalogue {self.path}: an entry is damaged; begin a new one")
            yield int.from_bytes(key[1:], "big"), ChunkEntry(*_ENTRY.unpack(value))

    def _scan(self, kind: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._db.items(from_key=kind):
            if key[:1] != kind:
                return
            yield key, value

    def close(self) -> None:
        """Closes the database; idempotent."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _chunk_key(fingerprint: int) -> bytes:
    return _CHUNK + fingerprint.to_bytes(8, "big")


def _source_key(identity: str) -> bytes:
    return _SOURCE + blake3(identity.encode()).digest()
