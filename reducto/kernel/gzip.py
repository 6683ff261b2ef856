"""Inflating gzip members and rebuilding their deflate streams bit for bit: thin wrappers of ``cext/api/20_gzip.h``.

Everything here releases the GIL while C runs. Functions may be called from any number of threads; an object belongs to
one thread at a time.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderModel:
    """The simulation of one encoder at one setting. ``model_id`` is a storage format: its meaning never changes."""

    model_id: int
    name: str
    level: int
    warmup_bytes: int
    lookahead_bytes: int
    segment_bytes: int
    align_bytes: int
    reuses_tokens: bool
    """Whether it can reuse the tokens of donors."""


@lru_cache(maxsize=1)
def models() -> dict[int, EncoderModel]:
    """Returns all models of this kernel by id, in the order in which planning prefers them."""
    found: dict[int, EncoderModel] = {}
    facts = ffi.new("rdk_model_facts *")
    for index in range(lib.rdk_model_count()):
        model_id = lib.rdk_model_at(index)
        check(lib.rdk_model_describe(model_id, facts), "describing a model")
        found[model_id] = EncoderModel(
            model_id=model_id,
            name=ffi.string(lib.rdk_model_name(model_id)).decode(),
            level=facts.level,
            warmup_bytes=facts.warmup_bytes,
            lookahead_bytes=facts.lookahead_bytes,
            segment_bytes=facts.segment_bytes,
            align_bytes=facts.align_bytes,
            reuses_tokens=bool(facts.reuses_tokens),
        )
    return found


def detect_param(model_id: int, raw_blocks: bytes) -> int:
    """Returns the number that goes with a member under this model (pigz's block size, zlib's memory level).

    ``raw_blocks`` are its first blocks, `BLOCK` entries. 0: the model has no such number, or they do not tell it.
    """
    entries = ffi.from_buffer("rdk_block_info[]", raw_blocks)
    return int(lib.rdk_model_detect(model_id, entries, len(raw_blocks) // BLOCK.size))


class Inflater:
    """Streaming inflate of one deflate stream into the caller's buffer. Also tells where blocks begin and end."""

    BLOCKS_PER_CALL = 1024

    def __init__(self) -> None:
        self._native = ffi.gc(lib.rdk_inflate_new(), lib.rdk_inflate_free)
        if not self._native:
            raise MemoryError("inflate state")
        self._io = ffi.new("rdk_inflate_io *")
        self._blocks = ffi.new("rdk_block_info[]", self.BLOCKS_PER_CALL)
        self._carried = 0
        self.bit = 0
        """Bits of the first unused input byte that were already used, 0 to 7."""

    def reset(self) -> None:
        """Makes the inflater ready for the next deflate stream."""
        lib.rdk_inflate_reset(self._native)
        self.bit = self._io.block_used = 0

    def run(
        self, wire: Buffer, wire_offset: int, plain: bytearray | memoryview, plain_used: int
    ) -> tuple[int, int, int]:
        """Inflates from ``wire[wire_offset:]`` behind ``plain[:plain_used]``, which is the history.

        Returns the status (`NEEDS_INPUT`, `OUTPUT_FULL`, `DONE`), the new wire offset and the new ``plain_used``.
        `entered` and `ended` then tell the blocks. Raises `Corrupt`.
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
        """Moves a block that has not ended yet to the front. Returns the number of such blocks, 0 or 1."""
        used = self._io.block_used
        if used == 0 or self._blocks[used - 1].ended:
            return 0
        self._blocks[0] = self._blocks[used - 1]
        return 1

    def entered(self) -> tuple[bytes, bytes]:
        """Returns the bit starts and plain starts, 64 bits each, of the blocks that the last `run` entered."""
        words = memoryview(ffi.buffer(self._blocks, self._io.block_used * BLOCK.size)).cast("Q")
        first, width = self._carried * BLOCK.size // 8, BLOCK.size // 8
        return words[first::width].tobytes(), words[first + 1 :: width].tobytes()

    def ended(self) -> bytes:
        """Returns the blocks whose end the last `run` reached: `BLOCK` entries."""
        used = self._io.block_used
        complete = used - 1 if used and not self._blocks[used - 1].ended else used
        return bytes(ffi.buffer(self._blocks, complete * BLOCK.size))


class TokenReader:
    """Inflates a whole deflate stream with its tokens through fixed buffers: for benchmarks, and to count tokens."""

    PLAIN_BYTES = 2 << 20
    HISTORY_BYTES = 32 << 10

    def __init__(self) -> None:
        self._plain = bytearray(self.PLAIN_BYTES)
        self._tokens = bytearray(4 * self.PLAIN_BYTES)
        self._blocks = ffi.new("rdk_block_info[]", 4096)

    def count(self, wire: Buffer, wire_offset: int) -> tuple[int, int]:
        """Returns the numbers of plain bytes and tokens of the deflate stream at ``wire_offset``. Raises `Corrupt`."""
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
    """Consecutive whole blocks of one member, and how they lie in the plain bytes that a call is given.

    The segment is ``[start, stop)`` of these bytes, which begin at ``offset`` of the member's plain bytes. ``ends``:
    the member's plain bytes end where they end. ``last``: the segment holds the final block. ``bit``: where in its
    first wire byte it begins, 0 to 7.
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
        """Number of wire bytes that hold at least one of its bits."""
        return (self.bit + self.wire_bits + 7) // 8

    def native(self, plain: Any, plain_length: int, model_id: int, member_param: int) -> Any:
        """Returns the C structure; ``plain`` must outlive it."""
        segment = ffi.new("rdk_segment *")
        segment.plain, segment.length = plain, plain_length
        segment.start, segment.stop, segment.offset = self.start, self.stop, self.offset
        segment.ends, segment.last, segment.bit = self.ends, self.last, self.bit
        segment.model, segment.member_param = model_id, member_param
        return segment


def segment_tokens(wire: Buffer, bit: int, plain_length: int) -> memoryview:
    """Returns the tokens of the segment of ``plain_length`` bytes that begins at ``bit`` of ``wire``.

    It ends in the last byte of ``wire``. Tokens have four bytes each, as `DonorRange` takes them. Raises `Corrupt`.
    """
    capacity = plain_length + 64
    buffer = uncleared(4 * capacity)
    with ffi.from_buffer("uint8_t[]", wire) as source, ffi.from_buffer("uint32_t[]", buffer) as tokens:
        count = check(
            lib.rdk_segment_tokens(source, len(wire), bit, plain_length, tokens, capacity), "reading a segment's tokens"
        )
    return copied([buffer[: 4 * count]])


@dataclass(frozen=True, slots=True)
class DonorRange:
    """A range ``[begin, end)`` of the plain bytes given for a segment, and a donor's tokens there.

    The donor is an older stream by the same encoder. ``plain`` are its bytes there (empty for a token delta), at
    ``offset`` of its member. ``tokens`` are those of `segment_tokens`, of one donor segment or several in a row; the
    first of them begins at ``token_begin``, counted as ``begin`` is, which may be negative.
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
    """Returns the ``shape.wire_bytes`` wire bytes, writable, with bits outside the segment 0.

    None: recipe and shape do not agree. A segment with an empty recipe is rebuilt faster with the tokens of ``donors``,
    which ascend and do not overlap; for any other recipe they are ignored. ``delta`` (of `token_delta`, against these
    very donors) is trusted, not verified: a wrong one gives wrong bytes, or None if it cannot fit this segment.
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
    """Returns the C structures, and the buffers that must outlive them."""
    native, held = ffi.new("rdk_donor_range[]", len(donors)), []
    for entry, each in zip(native, donors, strict=True):
        old = ffi.from_buffer("uint8_t[]", each.plain) if each.plain else ffi.NULL
        tokens = ffi.from_buffer("uint32_t[]", each.tokens)
        held += [old, tokens]
        entry.plain, entry.begin, entry.end, entry.offset = old, each.begin, each.end, each.offset
        entry.tokens, entry.token_count, entry.token_begin = tokens, len(tokens), each.token_begin
    return native, held


def token_delta(start: int, tokens: Buffer, donors: Sequence[DonorRange]) -> tuple[bytes, int]:
    """Returns the edit script that turns the donors' tokens into those of a segment, and how many bytes it copies.

    The segment begins at ``start`` of the plain bytes given for it; ``tokens`` are those of `segment_tokens`.
    Copied are the bytes of the segment for which donors' tokens stand; if they are 0 the delta is useless.
    """
    ranges, _held = _native_donors(donors)
    copied_bytes = ffi.new("uint64_t *")
    with ffi.from_buffer("uint32_t[]", tokens) as native:
        capacity = 8 * len(native) + 64
        buffer = uncleared(capacity)
        with ffi.from_buffer("uint8_t[]", buffer) as target:
            length = check(
                lib.rdk_token_delta(
                    start, native, len(native), ranges, len(donors), target, capacity, copied_bytes
                ),
                "comparing tokens",
            )  # fmt: skip
    return bytes(buffer[:length]), copied_bytes[0]


def plan_segment(
    shape: SegmentShape,
    plain: Buffer,
    wire: Buffer,
    model_id: int,
    member_param: int,
    most_corrections: int,
    most_bytes: int,
) -> tuple[bytes, int] | None:
    """Returns the proved recipe of a real segment and its number of corrections; None: there is none in the bounds."""
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
    """Returns how many corrections a real segment would need under each of ``candidates`` (id, member parameter).

    None: more than ``most``, or more than twice the best score before it plus 4.
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
