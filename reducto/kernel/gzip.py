"""Inflating gzip members and rebuilding their deflate streams bit for bit: thin wrappers of ``cext/api/20_gzip.h``.

Everything here releases the interpreter's lock while C runs and may be used from any number of threads, one
object per thread.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reducto.errors import Corrupt
from reducto.kernel._lib import Buffer, check, ffi, lib
from reducto.kernel.buffers import copied, uncleared

#: One deflate block: bit start, plain start, header bits, type, final, has match, ended, tokens.
BLOCK = struct.Struct("<QQIBBBBQ")

NEEDS_INPUT: int = lib.RDK_INFLATE_INPUT
OUTPUT_FULL: int = lib.RDK_INFLATE_OUTPUT
DONE: int = lib.RDK_INFLATE_DONE


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """An encoder model. ``model_id`` is a storage format: it keeps its meaning for ever."""

    model_id: int
    name: str
    level: int
    warmup_bytes: int
    lookahead_bytes: int
    segment_bytes: int
    align_bytes: int
    reuses_tokens: bool
    """Whether it takes tokens over from donors."""


@lru_cache(maxsize=1)
def models() -> dict[int, EncoderModel]:
    """All models of this kernel by id, in the order of the table."""
    found: dict[int, EncoderModel] = {}
    facts = ffi.new("rdk_model_facts *")
    for index in range(lib.rdk_model_count()):
        model_id = lib.rdk_model_at(index)
        check(lib.rdk_model_describe(model_id, facts), "describing a model")
        found[model_id] = EncoderModel(
            model_id,
            ffi.string(lib.rdk_model_name(model_id)).decode(),
            facts.level,
            facts.warmup_bytes,
            facts.lookahead_bytes,
            facts.segment_bytes,
            facts.align_bytes,
            bool(facts.reuses_tokens),
        )
    return found


def detect_param(model_id: int, raw_blocks: bytes) -> int:
    """The number that goes with a member under this model (block size and the like), from its first blocks; 0
    if it has none.
    """
    entries = ffi.from_buffer("rdk_block_info[]", raw_blocks)
    return int(lib.rdk_model_detect(model_id, entries, len(raw_blocks) // BLOCK.size))


class Inflater:
    """Streaming inflate of one deflate stream into the caller's buffer, telling where blocks begin."""

    BLOCKS_PER_CALL = 1024

    def __init__(self) -> None:
        self._native = ffi.gc(lib.rdk_inflate_new(), lib.rdk_inflate_free)
        if not self._native:
            raise MemoryError("inflate state")
        self._io = ffi.new("rdk_inflate_io *")
        self._blocks = ffi.new("rdk_block_info[]", self.BLOCKS_PER_CALL)
        self._carried = 0
        self.bit = 0
        """Bits of the first unused input byte that are already used, 0 to 7."""

    def reset(self) -> None:
        """Ready for the next deflate stream."""
        lib.rdk_inflate_reset(self._native)
        self.bit = self._io.block_used = 0

    def run(
        self, wire: Buffer, wire_offset: int, plain: bytearray | memoryview, plain_used: int
    ) -> tuple[int, int, int]:
        """Inflates from ``wire[wire_offset:]`` behind ``plain[:plain_used]``, which is the history.

        Returns the status (`NEEDS_INPUT`, `OUTPUT_FULL`, `DONE`), the new wire offset and the new
        ``plain_used``. `entered` and `ended` tell of its blocks. Raises `Corrupt`.
        """
        io = self._io
        with ffi.from_buffer("uint8_t[]", wire) as source, ffi.from_buffer("uint8_t[]", plain) as target:
            io.input = source + wire_offset
            io.input_length = len(wire) - wire_offset
            io.bit = self.bit if io.input_length else 0
            io.plain, io.plain_used, io.plain_capacity = target, plain_used, len(plain)
            self._carried = self._carry()
            io.blocks, io.block_used, io.block_capacity = self._blocks, self._carried, self.BLOCKS_PER_CALL
            status = check(lib.rdk_inflate_run(self._native, io), "inflating")
        if io.input_length:
            self.bit = io.bit
        return status, wire_offset + io.input_used, io.plain_used

    def _carry(self) -> int:
        """Moves a block that is not at its end yet to the front; how many that are: 0 or 1."""
        used = self._io.block_used
        if used == 0 or self._blocks[used - 1].ended:
            return 0
        self._blocks[0] = self._blocks[used - 1]
        return 1

    def entered(self) -> tuple[bytes, bytes]:
        """Bit starts and plain starts, 64 bits each, of the blocks that the last `run` entered."""
        words = memoryview(ffi.buffer(self._blocks, self._io.block_used * BLOCK.size)).cast("Q")
        first, width = self._carried * BLOCK.size // 8, BLOCK.size // 8
        return words[first::width].tobytes(), words[first + 1 :: width].tobytes()

    def ended(self) -> bytes:
        """The blocks that the last `run` saw the end of: `BLOCK` entries."""
        used = self._io.block_used
        complete = used - 1 if used and not self._blocks[used - 1].ended else used
        return bytes(ffi.buffer(self._blocks, complete * BLOCK.size))


class TokenReader:
    """Inflates a whole deflate stream with its tokens through fixed buffers: for measuring, and to count tokens."""

    PLAIN_BYTES = 2 << 20
    HISTORY_BYTES = 32 << 10

    def __init__(self) -> None:
        self._plain = bytearray(self.PLAIN_BYTES)
        self._tokens = bytearray(4 * self.PLAIN_BYTES)
        self._blocks = ffi.new("rdk_block_info[]", 4096)

    def count(self, wire: Buffer, wire_offset: int) -> tuple[int, int]:
        """Plain bytes and tokens of the deflate stream that begins at ``wire_offset``. Raises `Corrupt`."""
        native = ffi.gc(lib.rdk_inflate_new(), lib.rdk_inflate_free)
        io = ffi.new("rdk_inflate_io *")
        plain_length = token_count = 0
        with (
            ffi.from_buffer("uint8_t[]", wire) as source,
            ffi.from_buffer("uint8_t[]", self._plain) as plain,
            ffi.from_buffer("uint32_t[]", self._tokens) as tokens,
        ):
            io.plain, io.plain_capacity, io.tokens, io.token_capacity = plain, len(plain), tokens, len(tokens)
            io.blocks, io.block_capacity = self._blocks, len(self._blocks)
            status = OUTPUT_FULL
            while status == OUTPUT_FULL:
                io.input, io.input_length = source + wire_offset, len(wire) - wire_offset
                before, io.token_used, io.block_used = io.plain_used, 0, 0
                status = check(lib.rdk_inflate_run(native, io), "inflating")
                plain_length += io.plain_used - before
                token_count += io.token_used
                wire_offset += io.input_used
                kept = min(io.plain_used, self.HISTORY_BYTES)
                ffi.memmove(plain, plain + (io.plain_used - kept), kept)
                io.plain_used = kept
        if status != DONE:
            raise Corrupt("inflating: the stream is cut off")
        return plain_length, token_count


@dataclass(frozen=True, slots=True)
class SegmentShape:
    """A run of whole blocks of one member, and the plain bytes at hand around it.

    ``start`` and ``stop`` are its place in the bytes at hand, ``offset`` their place in the member's plain
    bytes; ``ends``: the member's plain bytes end with those at hand; ``last``: it holds the final block; ``bit``:
    where in its first wire byte it begins.
    """

    start: int
    stop: int
    offset: int
    ends: bool
    last: bool
    bit: int
    wire_bits: int

    @property
    def wire_bytes(self) -> int:
        """Wire bytes that hold at least one of its bits."""
        return (self.bit + self.wire_bits + 7) // 8

    def native(self, plain: Any, plain_length: int, model_id: int, member_param: int) -> Any:
        """The C structure; ``plain`` must outlive it."""
        segment = ffi.new("rdk_segment *")
        segment.plain, segment.length = plain, plain_length
        segment.start, segment.stop, segment.offset = self.start, self.stop, self.offset
        segment.ends, segment.last, segment.bit = self.ends, self.last, self.bit
        segment.model, segment.member_param = model_id, member_param
        return segment


def segment_tokens(wire: Buffer, bit: int, plain_length: int) -> memoryview:
    """The tokens of the segment of ``plain_length`` bytes that begins at ``bit`` of ``wire`` and ends in its last byte.

    Four bytes each, as `DonorRange` takes them. Raises `Corrupt`.
    """
    capacity = plain_length + 64
    room = uncleared(4 * capacity)
    with ffi.from_buffer("uint8_t[]", wire) as source, ffi.from_buffer("uint32_t[]", room) as tokens:
        count = check(
            lib.rdk_segment_tokens(source, len(wire), bit, plain_length, tokens, capacity), "reading a segment's tokens"
        )
    return copied([room[: 4 * count]])


@dataclass(frozen=True, slots=True)
class DonorRange:
    """What stands beside plain bytes ``begin`` to ``end`` of those at hand for a segment: a stream by its encoder.

    ``plain`` are the older stream's bytes there (none for a token delta), ``offset`` their place in its member;
    ``tokens`` (as `segment_tokens` gives them) begin at ``token_begin``, counted as ``begin`` is; it may be negative.
    """

    begin: int
    end: int
    plain: Buffer
    offset: int
    tokens: Buffer
    token_begin: int


def rebuild_segment(
    shape: SegmentShape,
    plain: Buffer,
    model_id: int,
    member_param: int,
    recipe: bytes,
    donors: Sequence[DonorRange] = (),
    delta: bytes = b"",
) -> memoryview | None:
    """The ``shape.wire_bytes`` wire bytes, writable, bits outside the segment 0; None if recipe and shape disagree.

    A segment with an empty recipe is made faster where it runs beside one of ``donors``, which are in ascending
    order and do not overlap; with any other recipe they are of no use. What ``delta`` (of `token_delta`, against these
    very donors) says is believed; None also if it can be none of this segment's.
    """
    wire = uncleared(shape.wire_bytes)
    bits = ffi.new("uint64_t *")
    with ffi.from_buffer("uint8_t[]", plain) as source, ffi.from_buffer("uint8_t[]", wire) as target:
        segment = shape.native(source, len(plain), model_id, member_param)
        if donors and not recipe:
            ranges, _held = _native_donors(donors)
            older = (segment, ranges, len(donors))
            if delta:
                status = lib.rdk_segment_rebuild_by_delta(*older, delta, len(delta), target, len(wire), bits)
            else:
                status = lib.rdk_segment_rebuild_reusing(*older, target, len(wire), bits)
        else:
            status = lib.rdk_segment_rebuild(segment, recipe, len(recipe), target, len(wire), bits)
    if status in (lib.RDK_E_CORRUPT, lib.RDK_E_OUTPUT_FULL, lib.RDK_E_LIMIT, lib.RDK_E_ARGUMENT):
        return None
    check(status, "rebuilding a segment")
    return wire if bits[0] == shape.wire_bits else None


def _native_donors(donors: Sequence[DonorRange]) -> tuple[Any, list[Any]]:
    """The C structures, and what must outlive them."""
    native, held = ffi.new("rdk_donor_range[]", len(donors)), []
    for entry, each in zip(native, donors, strict=True):
        old = ffi.from_buffer("uint8_t[]", each.plain) if each.plain else ffi.NULL
        tokens = ffi.from_buffer("uint32_t[]", each.tokens)
        held += [old, tokens]
        entry.plain, entry.begin, entry.end, entry.offset = old, each.begin, each.end, each.offset
        entry.tokens, entry.token_count, entry.token_begin = tokens, len(tokens), each.token_begin
    return native, held


def token_delta(start: int, tokens: Buffer, donors: Sequence[DonorRange]) -> tuple[bytes, int]:
    """What turns the donors' tokens into those of a segment that begins at ``start`` of the bytes at hand.

    ``tokens`` are as `segment_tokens` gives them. Returns the delta and how many of the segment's bytes the older
    tokens stand for; the delta is worth nothing where that is 0.
    """
    ranges, _held = _native_donors(donors)
    copied_bytes = ffi.new("uint64_t *")
    with ffi.from_buffer("uint32_t[]", tokens) as native:
        capacity = 8 * len(native) + 64
        room = uncleared(capacity)
        with ffi.from_buffer("uint8_t[]", room) as target:
            length = check(
                lib.rdk_token_delta(
                    start, native, len(native), ranges, len(donors), target, capacity, copied_bytes
                ),
                "comparing tokens",
            )  # fmt: skip
    return bytes(room[:length]), copied_bytes[0]


def plan_segment(
    shape: SegmentShape,
    plain: Buffer,
    wire: Buffer,
    model_id: int,
    member_param: int,
    most_corrections: int,
    most_bytes: int,
) -> tuple[bytes, int] | None:
    """The proved recipe of a real segment and its number of corrections; None if there is none within the bounds."""
    recipe = uncleared(max(most_bytes, 1))
    length, corrections = ffi.new("size_t *"), ffi.new("uint32_t *")
    with (
        ffi.from_buffer("uint8_t[]", plain) as source,
        ffi.from_buffer("uint8_t[]", wire) as real,
        ffi.from_buffer("uint8_t[]", recipe) as target,
    ):
        segment = shape.native(source, len(plain), model_id, member_param)
        status = lib.rdk_segment_plan(
            segment, real, len(wire), shape.wire_bits, most_corrections, target, len(recipe), length, corrections
        )
    if status in (lib.RDK_E_CORRUPT, lib.RDK_E_OUTPUT_FULL, lib.RDK_E_LIMIT):
        return None
    check(status, "planning a segment")
    return bytes(recipe[: length[0]]), corrections[0]


def try_models(
    shape: SegmentShape, plain: Buffer, wire: Buffer, candidates: Sequence[tuple[int, int]], most: int
) -> list[int | None]:
    """How many corrections a real segment would need under each model (id, member parameter).

    None: more than ``most``, or more than twice the best before it plus 4.
    """
    scores = ffi.new("uint32_t[]", len(candidates))
    ids = ffi.new("uint16_t[]", [model_id for model_id, _ in candidates])
    params = ffi.new("uint32_t[]", [param for _, param in candidates])
    with ffi.from_buffer("uint8_t[]", plain) as source, ffi.from_buffer("uint8_t[]", wire) as real:
        segment = shape.native(source, len(plain), candidates[0][0], 0)
        status = lib.rdk_segment_trial(
            segment, real, len(wire), shape.wire_bits, ids, params, len(candidates), most, scores
        )
    check(status, "trying models")
    return [None if score == 0xFFFFFFFF else score for score in scores]
