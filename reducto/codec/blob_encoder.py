"""Encoding: wire bytes in, instructions and a packed corpus of the new bytes out, proved on the way.

The proof is complete by its parts, and each part looks at what will really be stored:
  * the recipe was proved against the wire bytes by its `ContainerReader`;
  * what every operation yields on verified corpora is compared with the plain bytes (`_prove`);
  * every frame is decoded and compared with the new bytes (`frames.prove`);
  * the packed corpus's table is read back from its file and compared (`_pack`);
  * the serialised operations are parsed again and compared (`_assemble`).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from blake3 import blake3

from reducto.codec.frame_builder import FrameBuilder
from reducto.codec.frames import RELATED, FrameKind
from reducto.codec.gate import Sample, Verdict, judge
from reducto.codec.instructions import Instructions, Meta, operations_section, serialise, with_corpus
from reducto.codec.new_bytes import NewBytesSpool
from reducto.codec.options import EncodeOptions
from reducto.codec.packed import PackedTable, read_table, write_packed
from reducto.codec.receipt import Receipt
from reducto.codec.reduced import Reduced
from reducto.codec.references import ReferenceCorpus, ReferenceSelector, hooks_of_plain
from reducto.codec.unpacked import ensure_touched
from reducto.container import ContainerReader
from reducto.errors import LimitExceeded, ProofFailed
from reducto.gzip import ContainerLimits, open_container
from reducto.kernel.buffers import copy_bytes, same_bytes, uncleared
from reducto.kernel.chunking import Chunker, TarWalk
from reducto.kernel.matching import Extent, Matcher, Operations, Plan, ReferenceTable
from reducto.values import ChunkId, CorpusId, Digest, Reason, Stored
from reducto.workers import SerialExecutor, Submit

#: Plain bytes that are matched at a time.
WINDOW_BYTES = 4 << 20
# And proved at a time: what was compared is still in a core's own cache when it is hashed.
_PROOF_BYTES = 128 << 10
_SNIFF_BYTES = 64
# How often relatives are looked for again while little matches.
_REELECT_BYTES = 32 << 20
_REELECT_HIT_RATE = 0.5


class BlobEncoder:
    """Encodes one blob. Synchronous; `feed` in order, `finish` once, `close` always. Owned by one thread at a time.

    With ``submit`` proof and compression run on workers beside the caller.
    """

    def __init__(
        self,
        references: ReferenceSelector,
        spool_dir: Path,
        options: EncodeOptions | None = None,
        submit: Submit | None = None,
        *,
        unframe: bool = True,
    ) -> None:
        self._options = options or EncodeOptions()
        self._references = references
        self._submit = submit
        self._unframe = unframe
        self._started = time.monotonic()
        self._directory = Path(tempfile.mkdtemp(prefix="encode-", dir=spool_dir))
        self._table = ReferenceTable()
        self._fresh = NewBytesSpool(self._directory, self._options.plain_limit_bytes)
        self._frames = FrameBuilder(self._fresh, self._table, self._options, self._directory, submit)
        self._matcher = Matcher(self._options.chunking, self._table)
        self._lane = SerialExecutor(submit)
        self._unframer: ContainerReader | None = None
        self._head = b""
        self._wire_hash, self._wire_length = blake3(), 0
        self._plain_hash, self._plain_length = blake3(), 0
        self._walk = TarWalk()
        self._anchors: list[int] = []
        self._operations = Operations()
        self._window = uncleared(max(WINDOW_BYTES, self._options.sample_bytes))
        self._spare: list[memoryview] = []
        self._fill = 0
        self._window_offset = 0
        self._since_election = self._fresh_at_election = 0
        self._verdict: Verdict | None = None
        self._declined: Stored | None = None

    # -- wire bytes to plain bytes -----------------------------------------------------------------------------

    def room(self) -> memoryview | None:
        """Where a caller may put the next wire bytes before it feeds them from there, which saves a copy of them.

        None while there is no such place. Valid until the next `feed`, which takes what is at its front.
        """
        if self._unframer is None or not self._unframer.identity or self._fill == self._capacity():
            return None
        return self._window[self._fill :]

    def feed(self, wire: bytes | memoryview) -> None:
        """Takes the next wire bytes. Raises `OSError` (the spool's disk is full), `SegmentCorrupt`, `ProofFailed`."""
        if self._declined is not None:
            return
        self._wire_length += len(wire)
        if self._unframer is None:
            self._head += bytes(wire)
            if len(self._head) < _SNIFF_BYTES:
                return
            wire, self._head = self._head, b""
            self._unframer = self._open_unframer(wire)
        self._unframe_bytes(self._unframer, wire)
        self._declined = self._declined or self._unframer.refused

    def _unframe_bytes(self, unframer: ContainerReader, wire: bytes | memoryview) -> None:
        if not unframer.identity:  # else the proof hashes them
            self._wire_hash.update(wire)
        unframer.feed(wire, self._take_plain)

    def _open_unframer(self, head: bytes | memoryview) -> ContainerReader:
        limits = ContainerLimits(plain_limit_bytes=self._options.plain_limit_bytes)
        return open_container(bytes(head[:_SNIFF_BYTES]) if self._unframe else b"", self._submit, limits)

    def _take_plain(self, plain: memoryview) -> None:
        if self._declined is not None:
            return
        for header, content, _, path_hash in self._walk.feed(plain):
            self._frames.note_member(header, path_hash)
            self._anchors += [header, content]
        self._plain_length += len(plain)
        at = 0
        while at < len(plain) and self._declined is None:
            take = min(len(plain) - at, self._capacity() - self._fill)
            if plain.obj is not self._window.obj:  # else they were put into `room`
                copy_bytes(plain[at : at + take], self._window[self._fill :])
            self._fill += take
            at += take
            if self._fill == self._capacity():
                self._cover(final=False)

    def _capacity(self) -> int:
        return len(self._window)

    # -- plain bytes to operations -----------------------------------------------------------------------------

    def _window_anchors(self, start: int, stop: int) -> list[int]:
        low, high = self._window_offset + start, self._window_offset + stop
        return [anchor - low for anchor in self._anchors if low < anchor <= high]

    def _cover(self, *, final: bool) -> None:
        """Covers the window by operations, as far as can be decided, and keeps the rest for the next one."""
        if self._verdict is None:
            self._judge()
        elif self._since_election >= _REELECT_BYTES:
            self._elect_again()
        if self._declined is not None:
            return
        view = self._window[: self._fill]
        self._fresh.reserve(len(view))
        at, raws, before = 0, [], self._fresh.length
        while at < len(view):
            matched = self._matcher.match(
                view[at:], self._fresh.mapping, self._fresh.length,
                final=final, anchors=self._window_anchors(at, len(view)),
            )  # fmt: skip
            if not matched.consumed:
                break
            self._fresh.length = matched.new_length
            raws.append(matched.raw)
            at += matched.consumed
        self._table.set_own(self._fresh.mapping, self._fresh.length)
        self._advance(Operations(b"".join(raws)), at, self._fresh.length - before)

    def _advance(self, operations: Operations, covered: int, fresh_bytes: int) -> None:
        window, fresh_length = self._window, self._fresh.length
        rest = window[covered : self._fill]
        self._window = self._spare.pop() if self._spare else uncleared(WINDOW_BYTES)
        copy_bytes(rest, self._window)
        self._fill = len(rest)
        self._window_offset += covered
        self._since_election += covered
        self._anchors = [anchor for anchor in self._anchors if anchor > self._window_offset]
        self._operations.extend(operations.raw)
        self._lane.put(lambda: self._prove(operations, window, covered, fresh_length))
        self._frames.add(operations, fresh_bytes)

    def _prove(self, operations: Operations, window: memoryview, covered: int, fresh_length: int) -> None:
        """Compares what ``operations`` yield on verified corpora with the window, and hashes that."""
        plain = window[:covered]
        plan = Plan(operations)
        for number, reference in enumerate(self._frames.references, 1):
            ensure_touched(reference.corpus, number, plan, 0, len(plain))
        for start in range(0, len(plain), _PROOF_BYTES):
            piece = plain[start : start + _PROOF_BYTES]
            if not plan.yields(self._table, start, piece):
                raise ProofFailed("operations do not rebuild the plain bytes that they were made from")
            self._plain_hash.update(piece)
        self._fresh.hash_up_to(fresh_length)
        if len(window) == WINDOW_BYTES:
            self._spare.append(window)

    # -- relatives ---------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        options = self._options
        anchors = self._window_anchors(0, self._fill)
        sample = Sample.take(self._window[: self._fill], self._wire_length, options.chunking, anchors)
        self._adopt(self._references.elect(sample.hooks(), options.corpora_limit - 1))
        self._verdict = judge(sample, self._frames.references, options.minimum_score)
        if options.gate and not self._verdict.accepted:
            self._declined = Stored(Reason.NO_GAIN, self._verdict.reason)

    def _elect_again(self) -> None:
        """Looks for more relatives where the elected ones explain little."""
        recent = self._fresh.length - self._fresh_at_election
        room = self._options.corpora_limit - 1 - len(self._frames.references)
        if room > 0 and recent > (1 - _REELECT_HIT_RATE) * self._since_election:
            start = max(self._fresh_at_election, self._fresh.length - WINDOW_BYTES)
            data = self._fresh.mapping[start : self._fresh.length]
            hooks = [ChunkId(c) for c in Chunker(self._options.chunking).scan(data, final=True).fingerprints()]
            self._adopt(self._references.elect(hooks, room))
        self._since_election, self._fresh_at_election = 0, self._fresh.length

    def _adopt(self, elected: Iterable[ReferenceCorpus]) -> None:
        """Takes the elected corpora whose own needs still fit under the limit."""
        for reference in elected:
            known = {r.corpus.id for r in self._frames.references}
            closure = self._closure([*self._frames.references, reference])
            if reference.corpus.id in known or len(closure) >= self._options.corpora_limit:
                continue
            corpus = reference.corpus
            self._table.add(corpus.plain, (corpus.index.slots, corpus.index.home_slots))
            self._frames.references.append(reference)

    @staticmethod
    def _closure(references: Iterable[ReferenceCorpus]) -> set[CorpusId]:
        return {need for r in references for need in (r.corpus.id, *r.requires)}

    # -- the result --------------------------------------------------------------------------------------------

    def finish(self, digest: Digest | None = None) -> Reduced | Stored:
        """The proved result, or why the blob should be stored as it came. ``digest`` is the wire bytes' own.

        Raises what `feed` raises.
        """
        if self._unframer is None:
            self._unframer = self._open_unframer(self._head)
            if self._head:
                self._unframe_bytes(self._unframer, self._head)
        recipe = self._unframer.finish()
        if self._declined is None and self._fill:
            self._cover(final=True)
        if self._declined is not None:
            return self._declined
        if isinstance(recipe, Stored):
            return recipe
        if self._plain_length == 0:
            return Stored(Reason.TOO_SMALL, "no plain bytes")
        used = [number for number, total in enumerate(self._operations.totals()) if number and total]
        numbers = {number: at for at, number in enumerate([0, *used])}
        operations = self._operations
        operations.renumber([numbers.get(n, 0) for n in range(self._table.count)])
        section = self._beside(partial(operations_section, operations, 1 + len(used)))
        self._frames.finish()
        self._lane.drain()
        encoder = recipe.encoder
        try:
            return self._assemble(
                encoder, operations, section(), used, b"" if encoder == "identity" else recipe.to_bytes(), digest
            )
        except LimitExceeded as error:
            return Stored(Reason.PLAIN_LIMIT, str(error))

    def _beside(self, job: Callable[[], bytes]) -> Callable[[], bytes]:
        """Begins ``job`` on a worker, if there is one that is free before its result is asked for."""
        if self._submit is None:
            return job
        future = self._submit(job)
        return lambda: job() if future.cancel() else future.result()

    def _assemble(
        self,
        encoder: str,
        operations: Operations,
        section: bytes,
        used: Sequence[int],
        recipe: bytes,
        digest: Digest | None,
    ) -> Reduced | Stored:
        packed, table, stored_length = self._pack()
        own = table.corpus_id if table is not None else None
        corpora = (own, *(self._frames.references[n - 1].corpus.id for n in used))
        plain_hash = self._plain_hash.hexdigest()
        wire_hash = plain_hash if encoder == "identity" else self._wire_hash.hexdigest()
        meta = Meta(self._wire_length, wire_hash, self._plain_length, plain_hash, encoder, corpora, digest)
        head = serialise(meta, section, recipe)
        inside = packed is not None and stored_length <= self._options.inline_bytes
        if inside and packed is not None:
            corpus = packed.read_bytes()
            head = with_corpus(head, corpus, len(corpus)) + corpus
        if not same_bytes(Instructions.parse(head).operations.raw, operations.raw):
            raise ProofFailed("serialised operations differ from those that were proved")
        output = len(head) + (0 if inside else stored_length)
        if output > self._wire_length * (1 - self._options.minimum_gain):
            return Stored(Reason.NO_GAIN, f"{output} bytes would be stored instead of {self._wire_length}")
        needs = self._closure(self._frames.references[n - 1] for n in {*used, *self._frames.used()})
        receipt = self._receipt(encoder, output, len(head), len(recipe), corpora)
        packed_path = None if inside else packed
        find_hooks = partial(self._hooks, table if packed_path is not None else None)
        return Reduced(meta, head, packed_path, own, tuple(sorted(needs)), receipt, find_hooks, table)

    def _hooks(self, table: PackedTable | None) -> Sequence[ChunkId]:
        if table is None:
            return ()
        plain = self._fresh.mapping[: self._fresh.length]
        return hooks_of_plain(plain, table.chunking, table.anchors)

    def _pack(self) -> tuple[Path | None, PackedTable | None, int]:
        """Writes the packed corpus of the new bytes."""
        if not self._fresh.length:
            return None, None, 0
        frames = self._frames
        used = sorted(frames.used())
        number = {reference: at for at, reference in enumerate(used)}
        renumbered = tuple(
            type(frame)(frame.kind, frame.ranges, frame.stored_length,
                        tuple(Extent(number[t.reference], t.offset, t.length) for t in frame.twins))
            for frame in frames.frames
        )  # fmt: skip
        members = tuple((path, offset) for offset, path in sorted(frames.fresh_members.items()))
        table = PackedTable(
            self._fresh.length, b"", self._fresh.segment_hashes(),
            tuple(frames.references[n - 1].corpus.id for n in used), renumbered, self._options.chunking,
            members, tuple(offset for _, offset in members if offset),
        )  # fmt: skip
        path = self._directory / "corpus.rcp"
        with path.open("wb") as out:
            length = write_packed(out, table, frames.spool)
        if read_table(path) != table:
            raise ProofFailed("the packed corpus's table does not read back as it was written")
        return path, table, length

    def _receipt(
        self, encoder: str, output: int, instruction_bytes: int, recipe_bytes: int, corpora: tuple[CorpusId | None, ...]
    ) -> Receipt:
        kinds = {FrameKind.DELTA: [0, 0], FrameKind.LITERAL: [0, 0]}
        for frame in self._frames.frames:
            total = kinds[FrameKind.DELTA if frame.kind in RELATED else FrameKind.LITERAL]
            total[0] += frame.plain_length
            total[1] += frame.stored_length
        copied = sum(self._operations.totals()[1:])
        repeated = self._plain_length - copied - self._fresh.length
        verdict = self._verdict or Verdict(0.0, 0.0, True, "")
        return Receipt(
            encoder, self._wire_length, self._plain_length, output, copied, repeated,
            kinds[FrameKind.DELTA][0], kinds[FrameKind.LITERAL][0],
            kinds[FrameKind.DELTA][1], kinds[FrameKind.LITERAL][1],
            instruction_bytes, recipe_bytes, (copied + repeated) / max(self._plain_length, 1), verdict.score,
            "reduced", verdict.reason, tuple(c for c in corpora[1:] if c), time.monotonic() - self._started,
        )  # fmt: skip

    def close(self) -> None:
        """Removes every spool file; waits for workers that still use them. Idempotent."""
        with contextlib.suppress(BaseException):  # the caller of feed or finish has seen it
            self._lane.drain()
        self._frames.close()
        self._table.clear()
        self._fresh.close()
        shutil.rmtree(self._directory, ignore_errors=True)
