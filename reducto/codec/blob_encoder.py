"""Encodes one blob: wire bytes come in, instructions and a packed corpus of the new bytes go out, proved on the way.

The proof is complete by its parts, and each part looks at the bytes that will really be stored:
  * the `ContainerReader` proved the recipe against the wire bytes;
  * the bytes that operations copy from verified corpora are compared with the plain bytes (`OperationsProof`);
  * every frame is decoded and compared with the new bytes (`prove_frame`);
  * the packed corpus's table is read back from its file and compared (`pack_new_bytes`);
  * the serialised operations are parsed again and compared (`BlobEncoder._assemble`).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from blake3 import blake3

from reducto.codec.chosen_references import ChosenReferences
from reducto.codec.encode_options import EncodeOptions
from reducto.codec.frame_builder import FrameBuilder
from reducto.codec.frames import NEED_DELTA_BASE
from reducto.codec.gate import GateDecision, GateSample, decide
from reducto.codec.instructions import BlobMeta, Instructions, operations_section, serialise, with_corpus
from reducto.codec.new_bytes import NewBytesSpool
from reducto.codec.pack import pack_new_bytes
from reducto.codec.packed import PackedTable
from reducto.codec.plain_window import WINDOW_BYTES, PlainWindow
from reducto.codec.proof import OperationsProof
from reducto.codec.receipt import Receipt
from reducto.codec.reduced import Reduced
from reducto.codec.references import ReferenceSelector, hooks_of_plain
from reducto.container import RAW_ENCODER, ContainerReader, Recipe
from reducto.errors import LimitExceeded, ProofFailed
from reducto.gzip import ContainerLimits, open_container
from reducto.kernel.buffers import same_bytes
from reducto.kernel.chunking import Chunker, TarWalk
from reducto.kernel.matching import Matcher, Operations, ReferenceTable
from reducto.values import ChunkId, Digest, Reason, Stored
from reducto.workers import SerialExecutor, Submit

#: Wire bytes that must be there before the container is recognised.
_SNIFF_BYTES = 64
# After each 32 MiB of plain bytes similar corpora are looked for again, if less than half of these bytes matched.
_RESELECT_BYTES = 32 << 20
_RESELECT_HIT_RATE = 0.5


class BlobEncoder:
    """Encodes one blob. Synchronous; `feed` in order, `finish` once, `close` always. Owned by one thread at a time.

    With ``submit`` proof and compression run on workers while the caller goes on. Without ``decompress`` a gzip blob is
    encoded as it is, like any other data.
    """

    def __init__(
        self,
        references: ReferenceSelector,
        spool_dir: Path,
        options: EncodeOptions | None = None,
        submit: Submit | None = None,
        *,
        decompress: bool = True,
    ) -> None:
        self._options = options or EncodeOptions()
        self._submit = submit
        self._decompress = decompress
        self._started = time.monotonic()
        self._directory = Path(tempfile.mkdtemp(prefix="encode-", dir=spool_dir))
        self._table = ReferenceTable()
        self._references = ChosenReferences(references, self._table, self._options.corpora_limit)
        self._new = NewBytesSpool(self._directory, self._options.plain_limit_bytes)
        self._frames = FrameBuilder(
            self._new, self._table, self._references.corpora, self._options, self._directory, submit
        )
        self._matcher = Matcher(self._options.chunking, self._table)
        self._proof = OperationsProof(self._table, self._references.corpora, self._new)
        self._prover = SerialExecutor(submit)
        self._container: ContainerReader | None = None
        self._head = b""
        self._wire_hash, self._wire_length = blake3(), 0
        self._plain_length = 0
        self._walk = TarWalk()
        self._operations = Operations()
        self._window = PlainWindow(self._options.sample_bytes)
        self._since_selection = self._new_at_selection = 0
        self._decision: GateDecision | None = None
        self._declined: Stored | None = None

    # -- wire bytes to plain bytes -----------------------------------------------------------------------------

    def write_buffer(self) -> memoryview | None:
        """A buffer for zero-copy input: read the next wire bytes into its front, then pass that part to `feed`.

        It is valid until the next `feed`. None if the wire bytes are not the plain bytes, or nothing was fed yet.
        """
        if self._container is None or not self._container.raw or self._window.is_full:
            return None
        return self._window.free

    def feed(self, wire: bytes | memoryview) -> None:
        """Takes the next wire bytes. Raises `OSError` (the spool's disk is full), `SegmentCorrupt`, `ProofFailed`."""
        if self._declined is not None:
            return
        self._wire_length += len(wire)
        if self._container is None:
            self._head += bytes(wire)
            if len(self._head) < _SNIFF_BYTES:
                return
            wire, self._head = self._head, b""
            self._container = self._open_container(wire)
        self._feed_container(self._container, wire)
        self._declined = self._declined or self._container.refused

    def _feed_container(self, container: ContainerReader, wire: bytes | memoryview) -> None:
        if not container.raw:  # raw wire bytes are the plain bytes, which the proof hashes
            self._wire_hash.update(wire)
        container.feed(wire, self._take_plain)

    def _open_container(self, head: bytes | memoryview) -> ContainerReader:
        limits = ContainerLimits(plain_limit_bytes=self._options.plain_limit_bytes)
        return open_container(bytes(head[:_SNIFF_BYTES]) if self._decompress else b"", self._submit, limits)

    def _take_plain(self, plain: memoryview) -> None:
        if self._declined is not None:
            return
        for header, content, _, path_hash in self._walk.feed(plain):
            self._frames.note_member(header, path_hash)
            self._window.note_anchors((header, content))
        self._plain_length += len(plain)
        at = 0
        while at < len(plain) and self._declined is None:
            at += self._window.put(plain[at:])
            if self._window.is_full:
                self._cover(final=False)

    # -- plain bytes to operations -----------------------------------------------------------------------------

    def _cover(self, *, final: bool) -> None:
        """Covers the window with operations as far as can be decided, and keeps the rest for the next window."""
        if self._decision is None:
            self._decide()
        elif self._since_selection >= _RESELECT_BYTES:
            self._select_again()
        if self._declined is not None:
            return
        view, new = self._window.filled, self._new
        new.reserve(len(view))
        at, raws, before = 0, [], new.length
        while at < len(view):
            matched = self._matcher.match(
                view[at:], new.mapping, new.length, final=final, anchors=self._window.anchors(at, len(view))
            )
            if not matched.consumed:
                break
            new.length = matched.new_length
            raws.append(matched.raw)
            at += matched.consumed
        self._table.set_own(new.mapping, new.length)
        self._advance(Operations(b"".join(raws)), at, new.length - before)

    def _advance(self, operations: Operations, covered: int, new_bytes: int) -> None:
        new_length = self._new.length
        buffer = self._window.advance(covered)
        self._since_selection += covered
        self._operations.extend(operations.raw)

        def prove() -> None:
            self._proof.check(operations, buffer[:covered], new_length)
            self._window.recycle(buffer)

        self._prover.put(prove)
        self._frames.add(operations, new_bytes)

    # -- similar corpora ---------------------------------------------------------------------------------------

    def _decide(self) -> None:
        """Chooses the first references by what is in the window, and asks the gate."""
        options, window = self._options, self._window
        anchors = window.anchors(0, window.fill)
        sample = GateSample.take(window.filled, self._wire_length, options.chunking, anchors)
        self._references.choose(sample.hooks())
        self._decision = decide(sample, self._references.corpora, options.minimum_score)
        if options.gate and not self._decision.accepted:
            self._declined = Stored(Reason.NO_GAIN, self._decision.reason)

    def _select_again(self) -> None:
        """Looks for more similar corpora if those that were chosen hold less than half of the latest plain bytes."""
        recent = self._new.length - self._new_at_selection
        if self._references.left > 0 and recent > (1 - _RESELECT_HIT_RATE) * self._since_selection:
            start = max(self._new_at_selection, self._new.length - WINDOW_BYTES)
            data = self._new.mapping[start : self._new.length]
            self._references.choose(
                [ChunkId(c) for c in Chunker(self._options.chunking).scan(data, final=True).fingerprints()]
            )
        self._since_selection, self._new_at_selection = 0, self._new.length

    # -- the result --------------------------------------------------------------------------------------------

    def finish(self, digest: Digest | None = None) -> Reduced | Stored:
        """The proved result, or why the blob should be stored as it came. ``digest`` is the wire bytes' own.

        Raises what `feed` raises.
        """
        if self._container is None:
            self._container = self._open_container(self._head)
            if self._head:
                self._feed_container(self._container, self._head)
        recipe = self._container.finish()
        if self._declined is None and self._window.fill:
            self._cover(final=True)
        if self._declined is not None:
            return self._declined
        if isinstance(recipe, Stored):
            return recipe
        if self._plain_length == 0:
            return Stored(Reason.TOO_SMALL, "no plain bytes")
        used = [number for number, total in enumerate(self._operations.totals()) if number and total]
        numbers = {number: at for at, number in enumerate([0, *used])}
        self._operations.renumber([numbers.get(n, 0) for n in range(self._table.count)])
        section = self._meanwhile(partial(operations_section, self._operations, 1 + len(used)))
        self._frames.finish()
        self._prover.drain()
        try:
            return self._assemble(recipe, section(), used, digest)
        except LimitExceeded as error:
            return Stored(Reason.PLAIN_LIMIT, str(error))

    def _meanwhile(self, job: Callable[[], bytes]) -> Callable[[], bytes]:
        """Begins ``job`` on a worker. The function that it returns waits for the outcome, or does a job not begun."""
        if self._submit is None:
            return job
        future = self._submit(job)
        return lambda: job() if future.cancel() else future.result()

    def _assemble(self, recipe: Recipe, section: bytes, used: Sequence[int], digest: Digest | None) -> Reduced | Stored:
        """Puts the instructions together. ``used`` are the numbers of the references that operations copy from."""
        packed, table, stored_length = pack_new_bytes(
            self._directory / "corpus.rcp", self._new, self._frames, self._options.chunking
        )
        own = table.corpus_id if table is not None else None
        plain_hash = self._proof.plain_blake3
        raw = recipe.encoder == RAW_ENCODER
        wire_hash = plain_hash if raw else self._wire_hash.hexdigest()
        corpora = (own, *self._references.identities(used))
        meta = BlobMeta(self._wire_length, wire_hash, self._plain_length, plain_hash, recipe.encoder, corpora, digest)
        recipe_bytes = b"" if raw else recipe.to_bytes()
        head = serialise(meta, section, recipe_bytes)
        inside = packed is not None and stored_length <= self._options.inline_bytes
        if inside and packed is not None:
            corpus = packed.read_bytes()
            head = with_corpus(head, corpus, len(corpus)) + corpus
        if not same_bytes(Instructions.parse(head).operations.raw, self._operations.raw):
            raise ProofFailed("serialised operations differ from those that were proved")
        output = len(head) + (0 if inside else stored_length)
        if output > self._wire_length * (1 - self._options.minimum_gain):
            return Stored(Reason.NO_GAIN, f"{output} bytes would be stored instead of {self._wire_length}")
        needs = self._references.needs({*used, *self._frames.maker.used()})
        packed_path = None if inside else packed
        find_hooks = partial(self._hooks, table if packed_path is not None else None)
        receipt = self._receipt(meta, output, len(head), len(recipe_bytes))
        return Reduced(meta, head, packed_path, needs, receipt, find_hooks, table)

    def _hooks(self, table: PackedTable | None) -> Sequence[ChunkId]:
        if table is None:
            return ()
        return hooks_of_plain(self._new.mapping[: self._new.length], table.index.chunking, table.index.anchors)

    def _receipt(self, meta: BlobMeta, output: int, instruction_bytes: int, recipe_bytes: int) -> Receipt:
        frames = self._frames.maker.frames
        deltas = [frame for frame in frames if frame.kind in NEED_DELTA_BASE]
        others = [frame for frame in frames if frame.kind not in NEED_DELTA_BASE]
        copied = sum(self._operations.totals()[1:])
        repeated = self._plain_length - copied - self._new.length
        decision = self._decision or GateDecision(0.0, 0.0, True, "")
        return Receipt(
            encoder=meta.encoder,
            wire_bytes=self._wire_length,
            plain_bytes=self._plain_length,
            output_bytes=output,
            copied_bytes=copied,
            repeated_bytes=repeated,
            delta_bytes=sum(frame.plain_length for frame in deltas),
            literal_bytes=sum(frame.plain_length for frame in others),
            delta_stored_bytes=sum(frame.stored_length for frame in deltas),
            literal_stored_bytes=sum(frame.stored_length for frame in others),
            instruction_bytes=instruction_bytes,
            recipe_bytes=recipe_bytes,
            hit_rate=(copied + repeated) / max(self._plain_length, 1),
            score=decision.score,
            decision="reduced",
            reason=decision.reason,
            corpora=tuple(c for c in meta.corpora[1:] if c),
            seconds=time.monotonic() - self._started,
        )

    def close(self) -> None:
        """Removes every temporary file, after waiting for workers that still use them. Idempotent."""
        with contextlib.suppress(BaseException):  # `feed` or `finish` has raised the failure of a proof already
            self._prover.drain()
        self._frames.close()
        self._table.clear()
        self._new.close()
        shutil.rmtree(self._directory, ignore_errors=True)
