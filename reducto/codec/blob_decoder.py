"""Decoding: one blob, or any range of it, out of its instructions and the corpora that they name."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property, partial

from blake3 import blake3

from reducto.codec.blob_file import write_pieces, write_plain
from reducto.codec.donors import DonorList
from reducto.codec.instructions import Instructions
from reducto.codec.plain_decoder import PlainDecoder
from reducto.codec.unpacked import ReadableCorpus
from reducto.container import Recipe
from reducto.errors import Corrupt
from reducto.gzip import Donor, GzipRecipe, TokenDelta, make_token_delta, recipe_from_bytes
from reducto.kernel.matching import AlignedRange, aligned_ranges
from reducto.values import ByteRange, CorpusId, Digest
from reducto.workers import Submit

#: Plain bytes that are rebuilt at a time.
PIECE_BYTES = 4 << 20
#: The first piece has only 256 KiB, so that a reader gets its first bytes early.
_FIRST_PIECE_BYTES = 256 << 10
#: Pieces that workers read before they are asked for.
_PIECES_AHEAD = 2


class BlobDecoder:
    """Rebuilds one blob. Thread-safe; `close` when done.

    ``corpora`` maps the identities in `needs` to corpora; it may be filled later, as long as a corpus is there when its
    bytes are wanted. ``instructions`` must stay valid (it may be a mapping). Raises `NotReducto`, `Corrupt`.
    """

    def __init__(
        self,
        instructions: bytes | memoryview,
        corpora: Mapping[CorpusId, ReadableCorpus],
        spool_dir: str | os.PathLike[str] | None = None,
        submit: Submit | None = None,
    ) -> None:
        self._parsed = Instructions.parse(instructions)
        self.meta = self._parsed.meta
        self.wire_length: int = self.meta.wire_length
        self.wire_digest: Digest | None = self.meta.wire_digest
        self._submit = submit
        self._plain = PlainDecoder(self._parsed, corpora, spool_dir)
        self._donors = DonorList()

    @property
    def needs(self) -> tuple[CorpusId, ...]:
        """The corpora that must be given: those that are named and not embedded, and the embedded one's parents."""
        return self._plain.needs

    # -- wire bytes --------------------------------------------------------------------------------------------

    def rebuild(self, wire: ByteRange | None = None) -> Iterator[bytes | memoryview]:
        """The wire bytes of ``wire`` (default: all), in order.

        When all of them are asked for, the last piece comes only when the BLAKE3 hash of everything agreed; a range
        consists of verified corpus bytes, but has no hash of its own. Raises `Corrupt`, `SegmentCorrupt`,
        `CorpusMissing`.
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
                return recipe.rebuild(self._plain, span, self._submit, lambda: self._donors.best)
            return recipe.rebuild(self._plain, span, self._submit)
        if self.wire_length != self.meta.plain_length:
            raise Corrupt("instructions: there is no recipe, yet wire and plain bytes differ in length")
        return self._plain_pieces(span)

    def _plain_pieces(self, span: ByteRange) -> Iterator[memoryview]:
        """Plain pieces; with ``submit``, workers read two of them before they are asked for."""
        starts = _piece_edges(span)
        if self._submit is None:
            for start, stop in starts:
                yield self._plain.read(start, stop - start)
            return
        pending: deque[Future[memoryview]] = deque()
        try:
            for start, stop in starts:
                pending.append(self._submit(partial(self._plain.read, start, stop - start)))
                if len(pending) > _PIECES_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _checked(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Passes the pieces on, and the last one only if all of them together have the hash in the instructions."""
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

        Long runs of zeros become holes. Nobody may read the file before this returns. ``advance`` is told how many
        bytes are done. Raises as `rebuild`, and `OSError`.
        """
        os.ftruncate(descriptor, self.wire_length)
        if self._parsed.recipe or self._submit is None:
            write_pieces(descriptor, self.rebuild(), advance)
        else:
            self._check_hash(write_plain(descriptor, self._plain, self.wire_length, self._submit, advance))

    # -- reuse of an older blob's tokens -----------------------------------------------------------------------

    def reuse_tokens(self, donor: BlobDecoder, donor_wire: memoryview, token_delta: bytes = b"") -> float:
        """Registers an older gzip blob, the donor, whose tokens may be reused from now on to rebuild this whole blob.

        ``donor_wire`` are the wire bytes that ``donor`` decodes. Only the most useful donor is asked; one with a
        ``token_delta`` (made by `token_delta` of these two blobs) always wins. What is rebuilt is the same with and
        without a donor as long as delta and wire bytes are genuine, and the hash of the whole blob proves it.

        Takes ``donor`` over: it is closed with this decoder, or at once if this decoder is closed. Returns the share
        (0 to 1) of the plain bytes that is aligned with the present donor's, or 1 if this decoder is closed. Raises
        `Corrupt`.
        """
        if not self._donors.own(donor):
            return 1
        newer, older = self._gzip_recipe, donor._gzip_recipe
        if newer is not None and older is not None and older.wire_length == len(donor_wire):
            if token_delta:
                delta = TokenDelta.from_bytes(token_delta)
                if delta.donor_wire_length != older.wire_length:
                    raise Corrupt("token delta: against another blob")
                made = Donor(older, donor_wire, donor._plain, delta.aligned, delta.by_segment_start(newer))
            else:
                made = Donor(older, donor_wire, donor._plain, self._aligned_ranges(donor))
            self._donors.offer(made)
        return self._donors.aligned_bytes / max(1, self.meta.plain_length)

    @property
    def can_reuse_tokens(self) -> bool:
        """Whether this is a gzip blob by an encoder whose tokens can be taken from a donor. Raises `Corrupt`."""
        recipe = self._gzip_recipe
        return recipe is not None and recipe.can_reuse_tokens

    def aligned_share(self, donor: BlobDecoder) -> float:
        """The share (0 to 1) of the plain bytes that is aligned with an older blob's. Raises `Corrupt`.

        It is 0 unless `can_reuse_tokens` holds for both.
        """
        if not self.can_reuse_tokens or not donor.can_reuse_tokens:
            return 0
        return sum(each.length for each in self._aligned_ranges(donor)) / max(1, self.meta.plain_length)

    def token_delta(self, wire: memoryview, donor: BlobDecoder, donor_wire: memoryview) -> bytes:
        """The token delta that `reuse_tokens` takes for this blob and ``donor``, proved; empty where it is of no use.

        ``wire`` and ``donor_wire`` are the wire bytes of the two. Raises as `rebuild`, and `ProofFailed`.
        """
        newer, older = self._gzip_recipe, donor._gzip_recipe
        if newer is None or older is None:
            return b""
        ranges = self._aligned_ranges(donor)
        made = make_token_delta(newer, wire, self._plain, older, donor_wire, ranges)
        return made.to_bytes() if made is not None else b""

    @property
    def reused_bytes(self) -> int:
        """Plain bytes rebuilt with a donor's tokens. Bytes that two segments need are counted twice."""
        return self._donors.reused_bytes

    @property
    def precomputed_bytes(self) -> int:
        """Plain bytes among `reused_bytes` that a token delta described, so that no match was searched for them."""
        return self._donors.precomputed_bytes

    @cached_property
    def _recipe(self) -> Recipe | None:
        return recipe_from_bytes(self._parsed.recipe) if self._parsed.recipe else None

    @property
    def _gzip_recipe(self) -> GzipRecipe | None:
        return self._recipe if isinstance(self._recipe, GzipRecipe) else None

    def _aligned_ranges(self, donor: BlobDecoder) -> list[AlignedRange]:
        """Ranges of this blob and of ``donor`` that lie in parallel, judged by what both copy from the same corpora."""
        numbers = {corpus: number for number, corpus in enumerate(donor.meta.corpora) if corpus is not None}
        donor_numbers = {n: numbers[corpus] for n, corpus in enumerate(self.meta.corpora) if corpus in numbers}
        return aligned_ranges(self._parsed.operations, donor_numbers, donor._parsed.operations)

    def close(self) -> None:
        """Drops temporary files, and closes the donors. Idempotent."""
        self._donors.close()
        self._plain.close()


def _piece_edges(span: ByteRange) -> Iterator[tuple[int, int]]:
    at, length = span.start, _FIRST_PIECE_BYTES
    while at < span.stop:
        stop = min(at + length, span.stop)
        yield at, stop
        at, length = stop, PIECE_BYTES
