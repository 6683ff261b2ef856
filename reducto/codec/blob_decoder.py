"""Decoding: one blob, or any range of it, out of its instructions and the corpora that they name."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from functools import cached_property, partial
from typing import cast

from blake3 import blake3

from reducto.codec.instructions import Instructions
from reducto.codec.unpacked import ReadableCorpus, UnpackedCorpus, ensure_touched
from reducto.container import Recipe
from reducto.corpus.corpus_format import SEGMENT_BYTES
from reducto.errors import CorpusMissing, Corrupt
from reducto.gzip import GzipRecipe, Precedent, TokenDelta, make_token_delta, recipe_from_bytes
from reducto.kernel.buffers import data_runs, uncleared
from reducto.kernel.matching import AlignedRange, Plan, ReferenceTable, aligned_ranges
from reducto.values import ByteRange, CorpusId, Digest
from reducto.workers import Submit

#: Plain bytes that are rebuilt at a time.
PIECE_BYTES = 4 << 20
#: The first pieces are short, so that a reader gets its first bytes early.
_FIRST_PIECE_BYTES = 256 << 10
_AHEAD = 2
#: Plain bytes that are written to a file at a time, while they are still in the processor's cache.
_WRITE_BYTES = 256 << 10
#: Zeros are left out of a file in blocks of this size, as zstd and cp do.
_SPARSE_BLOCK_BYTES = 32 << 10


class BlobDecoder:
    """Rebuilds one blob. Thread-safe; `close` when done.

    ``corpora`` maps the identities in `needs` to corpora; it may be filled later, as long as a corpus is there when its
    bytes are wanted. ``instructions`` must stay valid (it may be a mapping).
    """

    def __init__(
        self,
        instructions: bytes | memoryview,
        corpora: Mapping[CorpusId, ReadableCorpus],
        spool_dir: str | os.PathLike[str] | None = None,
        submit: Submit | None = None,
    ) -> None:
        self._parsed = Instructions.parse(instructions)
        meta = self._parsed.meta
        self.meta = meta
        self.wire_length: int = meta.wire_length
        self.wire_digest: Digest | None = meta.wire_digest
        self._submit = submit
        self._corpora = corpora
        self._plan = Plan(self._parsed.operations)
        if self._plan.plain_length != meta.plain_length:
            raise Corrupt("instructions: the operations do not yield the stated plain length")
        self._embedded: UnpackedCorpus | None = None
        if self._parsed.packed is not None:
            directory = spool_dir or tempfile.gettempdir()
            self._embedded = UnpackedCorpus(self._parsed.packed, corpora, directory)
            if self._embedded.id != meta.corpora[0]:
                self._embedded.close()
                raise Corrupt("instructions: the embedded corpus is another one than they name")
        self._precedents: list[Precedent] = []
        """Each better than the one before: the last is used."""
        self._olders: list[BlobDecoder] = []
        self._closed = False
        self._lock = threading.Lock()
        self._table: ReferenceTable | None = None
        self._sources: list[ReadableCorpus | None] = []

    @property
    def needs(self) -> tuple[CorpusId, ...]:
        """Corpora that must be given: those that are named and not embedded, and the embedded one's parents."""
        own = self.meta.corpora[0]
        named = [c for c in self.meta.corpora[1:] if c is not None]
        if self._embedded is not None:
            named += self._embedded.table.parents
        elif own is not None:
            named.append(own)
        return tuple(dict.fromkeys(named))

    @property
    def packed(self) -> memoryview | None:
        """The embedded packed corpus, if there is one."""
        return self._parsed.packed

    # -- plain bytes -------------------------------------------------------------------------------------------

    def _resolve(self) -> tuple[ReferenceTable, list[ReadableCorpus | None]]:
        """The references, looked up when the first byte is wanted."""
        with self._lock:
            if self._table is None:
                table, sources = ReferenceTable(), [self._own_source()]
                if sources[0] is not None:
                    table.set_own(sources[0].plain, sources[0].plain_length)
                for corpus in self.meta.corpora[1:]:
                    source = self._given(corpus)
                    table.add(source.plain)
                    sources.append(source)
                self._table, self._sources = table, sources
            return self._table, self._sources

    def _own_source(self) -> ReadableCorpus | None:
        own = self.meta.corpora[0]
        return self._embedded if self._embedded is not None or own is None else self._given(own)

    def _given(self, corpus: CorpusId | None) -> ReadableCorpus:
        source = self._corpora.get(corpus) if corpus is not None else None
        if source is None:
            raise CorpusMissing(str(corpus))
        return source

    def read_into(self, plain_offset: int, out: memoryview | bytearray) -> None:
        """Fills ``out`` with plain bytes from ``plain_offset``. Raises `Corrupt`, `SegmentCorrupt`, `CorpusMissing`."""
        self._plan.execute(self._verified(plain_offset, len(out)), plain_offset, out)

    def _verified(self, plain_offset: int, length: int) -> ReferenceTable:
        """The references, after the segments that hold these plain bytes were verified."""
        table, sources = self._resolve()
        for number, source in enumerate(sources):
            if source is not None:
                ensure_touched(source, number, self._plan, plain_offset, length)
        return table

    def read(self, plain_offset: int, length: int) -> memoryview:
        """``length`` plain bytes from ``plain_offset`` in a buffer of their own; raises as `read_into`."""
        out = uncleared(length)
        self.read_into(plain_offset, out)
        return out

    # -- wire bytes --------------------------------------------------------------------------------------------

    def rebuild(self, wire: ByteRange | None = None) -> Iterator[bytes | memoryview]:
        """The wire bytes of ``wire`` (default: all), in order.

        When all of them are asked for, the last piece comes only when the BLAKE3 hash of everything agreed; a range
        consists of verified corpus bytes, but has no hash of its own. Raises `Corrupt` and what `read` raises.
        """
        span = ByteRange(0, self.wire_length) if wire is None else wire
        if span.stop > self.wire_length:
            raise Corrupt(f"range {span.start}..{span.stop} leaves the {self.wire_length} bytes of the blob")
        pieces = self._pieces(span)
        return self._checked(pieces) if len(span) == self.wire_length else pieces

    def _pieces(self, span: ByteRange) -> Iterator[bytes | memoryview]:
        recipe = self._recipe
        if recipe is not None:
            if (recipe.wire_length, recipe.plain_length) != (self.wire_length, self.meta.plain_length):
                raise Corrupt("instructions: the recipe is for another blob")
            if isinstance(recipe, GzipRecipe) and len(span) == self.wire_length:
                return recipe.rebuild(self, span, self._submit, lambda: self._precedent)
            return recipe.rebuild(self, span, self._submit)
        if self.wire_length != self.meta.plain_length:
            raise Corrupt("instructions: there is no recipe, yet wire and plain bytes differ in length")
        return self._ahead(span)

    def _ahead(self, span: ByteRange) -> Iterator[memoryview]:
        """Plain pieces, with a few being read by workers before they are asked for."""
        starts = self._cuts(span)
        if self._submit is None:
            for start, stop in starts:
                yield self.read(start, stop - start)
            return
        pending: deque[Future[memoryview]] = deque()
        try:
            for start, stop in starts:
                pending.append(self._submit(partial(self.read, start, stop - start)))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    @staticmethod
    def _cuts(span: ByteRange) -> Iterator[tuple[int, int]]:
        at, length = span.start, _FIRST_PIECE_BYTES
        while at < span.stop:
            stop = min(at + length, span.stop)
            yield at, stop
            at, length = stop, PIECE_BYTES

    def _checked(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        hasher, done = blake3(), 0
        for piece in pieces:
            hasher.update(piece)
            done += len(piece)
            if done == self.wire_length:
                self._check_hash(hasher)
            yield piece
        if done != self.wire_length:
            raise Corrupt(f"{done} bytes were rebuilt of a blob of {self.wire_length}")

    def _check_hash(self, hasher: blake3) -> None:
        if hasher.hexdigest() != self.meta.wire_blake3:
            raise Corrupt("what was rebuilt does not have the hash that the instructions state")

    def write_file(self, descriptor: int, advance: Callable[[int], None] = lambda _: None) -> None:
        """Writes the whole blob to a new, empty file, on all workers, and then checks its hash.

        Long runs of zeros become holes. For a file that nobody reads until this returns. Raises as `rebuild`, and
        `OSError`.
        """
        os.ftruncate(descriptor, self.wire_length)
        if self._parsed.recipe or self._submit is None:
            at = 0
            for piece in self.rebuild():
                _write_at(descriptor, memoryview(piece), at)
                at += len(piece)
                advance(len(piece))
            return
        hasher = blake3()
        spare = [bytearray(PIECE_BYTES) for _ in range(_AHEAD + 2)]
        pending: deque[Future[memoryview]] = deque()
        enough = threading.Event()
        unpacking = [self._submit(_unpack_ahead, self._embedded, enough)] if self._embedded is not None else []

        def collect(left: int) -> None:
            while len(pending) > left:
                piece = pending.popleft().result()
                hasher.update(piece)
                advance(len(piece))
                spare.append(cast(bytearray, piece.obj))

        try:
            for start in range(0, self.wire_length, PIECE_BYTES):
                out = memoryview(spare.pop())[: self.wire_length - start]
                pending.append(self._submit(self._write_piece, descriptor, start, out))
                collect(_AHEAD)
            collect(0)
        finally:
            enough.set()
            wait([future for future in (*unpacking, *pending) if not future.cancel()])
        self._check_hash(hasher)

    def _write_piece(self, descriptor: int, start: int, out: memoryview) -> memoryview:
        table = self._verified(start, len(out))
        for at in range(0, len(out), _WRITE_BYTES):
            part = out[at : at + _WRITE_BYTES]
            self._plan.execute(table, start + at, part)
            _write_at(descriptor, part, start + at)
        return out

    def follow(self, older: BlobDecoder, older_wire: memoryview, token_delta: bytes = b"") -> float:
        """From now on a whole gzip blob is rebuilt with the help of an older one, whose wire bytes are ``older_wire``,
        unless one that was given before is of more use.

        Takes ``older`` over: it is closed with this decoder, or at once. Returns how much of the plain bytes, 0 to 1,
        runs beside those of the one that helps; 1 once this decoder is closed and needs none. With ``token_delta``
        (of `token_delta` of these two) it is of more use than any without. What is rebuilt is the same with and
        without, if delta and older wire bytes are what they should be: the hash of the whole is the proof. Raises
        `Corrupt`.
        """
        with self._lock:
            if self._closed:
                older.close()
                return 1
            self._olders.append(older)
        ours, theirs = self._gzip_recipe, older._gzip_recipe
        if ours is None or theirs is None or theirs.wire_length != len(older_wire):
            return self._beside_share
        if token_delta:
            stated = TokenDelta.from_bytes(token_delta)
            if stated.older_wire_length != theirs.wire_length:
                raise Corrupt("token delta: against another blob")
            precedent = Precedent(theirs, older_wire, older, stated.stretches, stated.by_start(ours))
        else:
            precedent = Precedent(theirs, older_wire, older, self._parallels(older))
        with self._lock:
            better = bool(token_delta) or precedent.parallel_bytes > self._parallel_bytes
            if better and not self._closed:
                self._precedents.append(precedent)
        return self._beside_share

    @property
    def follows(self) -> bool:
        """Whether this is a gzip blob whose encoder can follow an older blob. Raises `Corrupt`."""
        recipe = self._gzip_recipe
        return recipe is not None and recipe.follows

    def beside(self, older: BlobDecoder) -> float:
        """How much of the plain bytes, 0 to 1, runs beside those of an older blob; 0 unless both are `follows`.
        Raises `Corrupt`."""
        if not self.follows or not older.follows:
            return 0
        return sum(each.length for each in self._parallels(older)) / max(1, self.meta.plain_length)

    def token_delta(self, wire: memoryview, older: BlobDecoder, older_wire: memoryview) -> bytes:
        """What `follow` takes, for this blob, whose wire bytes are ``wire``, beside an older one; empty where that
        would not help. Raises as `rebuild`, and `ProofFailed`."""
        ours, theirs = self._gzip_recipe, older._gzip_recipe
        if ours is None or theirs is None:
            return b""
        made = make_token_delta(ours, wire, self, theirs, older_wire, self._parallels(older))
        return made.to_bytes() if made is not None else b""

    @cached_property
    def _recipe(self) -> Recipe | None:
        return recipe_from_bytes(self._parsed.recipe) if self._parsed.recipe else None

    @property
    def _gzip_recipe(self) -> GzipRecipe | None:
        return self._recipe if isinstance(self._recipe, GzipRecipe) else None

    def _parallels(self, older: BlobDecoder) -> list[AlignedRange]:
        """Where this blob runs beside an older one: both copy from the same corpora."""
        numbers = {corpus: number for number, corpus in enumerate(older.meta.corpora) if corpus is not None}
        theirs = {n: numbers[corpus] for n, corpus in enumerate(self.meta.corpora) if corpus in numbers}
        return aligned_ranges(self._parsed.operations, theirs, older._parsed.operations)

    @property
    def _precedent(self) -> Precedent | None:
        found = self._precedents
        return found[-1] if found else None

    @property
    def _beside_share(self) -> float:
        return self._parallel_bytes / max(1, self.meta.plain_length)

    @property
    def _parallel_bytes(self) -> int:
        precedent = self._precedent
        return precedent.parallel_bytes if precedent is not None else 0

    @property
    def followed_bytes(self) -> int:
        """Plain bytes that were rebuilt beside an older blob's, those counted twice that two segments need."""
        return sum(each.beside_bytes for each in self._precedents)

    @property
    def stated_bytes(self) -> int:
        """Those of them that a token delta told of."""
        return sum(each.stated_bytes for each in self._precedents)

    def close(self) -> None:
        """Gives spool files up. Idempotent."""
        with self._lock:
            olders, self._olders, self._closed = self._olders, [], True
            self._precedents = []  # with their mappings, which are given back here and not where the decoder ends
        for older in olders:
            older.close()
        if self._embedded is not None:
            self._embedded.close()


def _unpack_ahead(embedded: UnpackedCorpus, enough: threading.Event) -> None:
    """Makes the embedded corpus readable from its front, so that pieces seldom wait for their frame."""
    for start in range(0, embedded.plain_length, SEGMENT_BYTES):
        if enough.is_set():
            return
        embedded.ensure([ByteRange(start, min(start + SEGMENT_BYTES, embedded.plain_length))])


def _write_at(descriptor: int, piece: memoryview, offset: int) -> None:
    """Writes what of ``piece`` is not zeros at ``offset`` of an empty file."""
    for start, stop in data_runs(piece, _SPARSE_BLOCK_BYTES):
        while start < stop:
            start += os.pwrite(descriptor, piece[start:stop], offset + start)
