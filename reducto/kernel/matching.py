"""Matching plain bytes against corpora; operations as compact arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple, cast

from reducto.errors import Corrupt
from reducto.kernel._lib import Buffer, check, ffi, lib, pointer
from reducto.kernel.buffers import copied, hold, uncleared
from reducto.kernel.chunking import ChunkParams

#: Reference number of a blob's own new bytes.
OWN: int = lib.RDK_OWN
#: Largest number of references, own included, that operations can name.
REFERENCES_LIMIT: int = lib.RDK_REFERENCES_MAX
#: Largest number of operations of one blob. It bounds what instructions may make a reader hold: 24 bytes for each.
OPERATIONS_LIMIT = 8 << 20
_OPERATION_BYTES: int = ffi.sizeof("rdk_operation")
_COLUMNS = 3
_STRIDE = 1024


class Operation(NamedTuple):
    """Copy ``length`` bytes from ``source`` of ``reference``; ``is_new`` marks bytes that are new with this blob."""

    length: int
    source: int
    reference: int
    is_new: int


class UnmatchedRange(NamedTuple):
    """Operation number ``operation``, a new one: ``length`` bytes at ``plain_offset`` of the blob.

    They are at ``source`` of the new bytes.
    """

    operation: int
    plain_offset: int
    source: int
    length: int


class ReferenceTable:
    """The references of one blob as the kernel needs them. Number 0 is the blob's own new bytes.

    It keeps every buffer alive until `clear`.
    """

    def __init__(self) -> None:
        self.native = ffi.new("rdk_reference[]", REFERENCES_LIMIT)
        self.count = 1
        self._keep: list[Any] = []
        self._own: Any = None

    def set_own(self, plain: Buffer, plain_length: int) -> None:
        """Sets the blob's own new bytes, of which ``plain_length`` are valid."""
        self._own = hold(plain)
        self.native[0].plain = pointer(plain)
        self.native[0].plain_length = plain_length

    def add(self, plain: Buffer, index: tuple[Buffer, int] | None = None) -> int:
        """Adds a reference and returns its number. ``index`` is (slots, home slots); None: it is only copied from."""
        check(-1 if self.count >= REFERENCES_LIMIT else 0, f"more than {REFERENCES_LIMIT - 1} references")
        entry = self.native[self.count]
        self._keep.append(hold(plain))
        entry.plain, entry.plain_length = pointer(plain), len(plain)
        if index is not None:
            slots = pointer(index[0], "rdk_entry[]")
            self._keep.append(hold(index[0]))
            entry.slots, entry.slot_count, entry.home_slots = slots, len(slots), index[1]
        self.count += 1
        return self.count - 1

    def clear(self) -> None:
        """Drops every buffer. Nothing may be matched or copied with this table any more."""
        self.native = ffi.new("rdk_reference[]", REFERENCES_LIMIT)
        self.count, self._own = 1, None
        self._keep.clear()


class Operations:
    """A sequence of operations in the kernel's own form, because a large blob has millions of them.

    For the same reason everything that reads all of them is done by the kernel, without the GIL.
    """

    def __init__(self, raw: Buffer = b"") -> None:
        self.raw: bytearray | memoryview = bytearray(raw)

    def __len__(self) -> int:
        return len(self.raw) // _OPERATION_BYTES

    def __iter__(self) -> Iterator[Operation]:
        native = self._native()
        return (Operation(o.length, o.source, o.reference, o.is_new) for o in native)

    def __getitem__(self, at: int) -> Operation:
        o = self._native()[range(len(self))[at]]
        return Operation(o.length, o.source, o.reference, o.is_new)

    def _native(self) -> Any:
        return ffi.from_buffer("rdk_operation[]", self.raw)

    def extend(self, raw: Buffer) -> None:
        """Appends operations in their raw form. Decoded operations cannot grow."""
        cast(bytearray, self.raw).extend(raw)

    def slice(self, first: int, last: int | None = None) -> Operations:
        """Returns a copy of the operations ``[first, last)``."""
        stop = None if last is None else last * _OPERATION_BYTES
        return Operations(memoryview(self.raw)[first * _OPERATION_BYTES : stop])

    def totals(self) -> list[int]:
        """Returns the plain bytes taken from each reference number; their sum is the length of all output."""
        out = ffi.new("uint64_t[]", REFERENCES_LIMIT)
        check(lib.rdk_operation_totals(self._native(), len(self), out), "operations")
        return list(out)

    def unmatched_ranges(self, plain_offset: int, least_bytes: int) -> list[UnmatchedRange]:
        """Returns new operations of at least ``least_bytes``; the first operation begins at ``plain_offset``."""
        out = ffi.new("rdk_unmatched_range[]", len(self) or 1)
        count = check(
            lib.rdk_unmatched_ranges(self._native(), len(self), plain_offset, least_bytes, out, len(out)),
            "unmatched ranges",
        )
        return [UnmatchedRange(g.operation, g.plain_offset, g.source, g.length) for g in out[0:count]]

    def renumber(self, numbers: Sequence[int]) -> None:
        """Gives reference ``n`` the number ``numbers[n]``. Raises `UsageError` for one beyond them."""
        native = ffi.from_buffer("rdk_operation[]", self.raw, require_writable=True)
        check(lib.rdk_renumber(native, len(self), ffi.new("uint32_t[]", list(numbers)), len(numbers)), "renumbering")

    def encode(self, references: int) -> tuple[memoryview, tuple[int, ...]]:
        """Returns three LEB128 columns, one after the other, and their lengths in bytes."""
        out = uncleared(len(self) * 10 * _COLUMNS + 64)
        lengths = ffi.new("uint64_t[]", _COLUMNS)
        total = lib.rdk_operations_encode(self._native(), len(self), references, pointer(out), len(out), lengths)
        return out[: check(total, "encoding operations")], tuple(lengths)

    @classmethod
    def decode(cls, columns: Buffer, lengths: Sequence[int], references: int) -> Operations:
        """Returns the operations in ``columns``. Raises `Corrupt`."""
        if len(lengths) != _COLUMNS or sum(lengths) != len(columns):
            raise Corrupt("operations: the columns do not fill their section")
        out = uncleared(min(lengths[0], OPERATIONS_LIMIT) * _OPERATION_BYTES)
        count = lib.rdk_operations_decode(
            pointer(columns), ffi.new("uint64_t[]", list(lengths)), references,
            pointer(out, "rdk_operation[]"), len(out) // _OPERATION_BYTES,
        )  # fmt: skip
        if count == lib.RDK_E_OUTPUT_FULL:
            raise Corrupt(f"operations: they are more than {OPERATIONS_LIMIT}")
        made = cls()
        made.raw = out[: check(count, "operations") * _OPERATION_BYTES]
        return made


class Plan:
    """Random access to the output of ``operations``. Thread-safe, because reading changes nothing."""

    def __init__(self, operations: Operations) -> None:
        self._native = hold(copied([operations.raw]), "rdk_operation[]")
        self._count = len(operations)
        starts = ffi.new("uint64_t[]", self._count // _STRIDE + 3)
        entries = lib.rdk_operation_starts(self._native, self._count, _STRIDE, starts, len(starts))
        check(entries, "operations")
        self._starts = list(ffi.unpack(starts, entries))
        self.plain_length: int = self._starts[-1]

    def _locate(self, plain_offset: int) -> tuple[int, int]:
        at = max(0, bisect_right(self._starts, plain_offset) - 1)
        return min(at * _STRIDE, self._count), plain_offset - self._starts[at]

    def touched(
        self, plain_offset: int, length: int, reference: int, segment_bytes: int, plain_length: int
    ) -> list[int]:
        """Returns which segments (of ``segment_bytes``) of one reference a range of the output reads.

        Raises `Corrupt` if it reads beyond the reference's ``plain_length``.
        """
        first, skip = self._locate(plain_offset)
        marks = bytearray(-(-plain_length // segment_bytes))
        found = lib.rdk_touched(
            self._native + first, self._count - first, skip, length, reference, segment_bytes,
            pointer(marks), len(marks),
        )  # fmt: skip
        if not check(found, "operations leave their corpus"):
            return []
        return list(compress(range(len(marks)), marks))

    def execute(self, table: ReferenceTable, plain_offset: int, out: bytearray | memoryview) -> None:
        """Fills ``out`` with plain bytes from ``plain_offset`` on. Raises `Corrupt` if they leave a reference."""
        first, skip = self._locate(plain_offset)
        done = lib.rdk_execute(
            table.native, table.count, self._native + first, self._count - first, skip, pointer(out), len(out)
        )
        if check(done, "operations leave their corpus") != len(out):
            raise Corrupt(f"operations end before plain offset {plain_offset + len(out)}")

    def yields(self, table: ReferenceTable, plain_offset: int, expected: bytes | memoryview) -> bool:
        """Whether `execute` would give ``expected``, without a copy. Raises `Corrupt` if that leaves a reference."""
        first, skip = self._locate(plain_offset)
        answer = lib.rdk_yields(
            table.native, table.count, self._native + first, self._count - first, skip, pointer(expected), len(expected)
        )
        return bool(check(answer, "operations leave their corpus"))


@dataclass(frozen=True, slots=True)
class Matched:
    """The result of one window: ``raw`` operations cover ``consumed`` bytes; there are ``new_length`` new bytes now."""

    raw: bytes
    consumed: int
    new_length: int


class Matcher:
    """Covers one blob's plain bytes by operations, window after window. Belongs to one thread at a time."""

    def __init__(self, params: ChunkParams, table: ReferenceTable) -> None:
        matcher = lib.rdk_matcher_new(params.native)
        if matcher == ffi.NULL:
            raise MemoryError("matcher")
        self._matcher = ffi.gc(matcher, lib.rdk_matcher_free)
        self._table = table
        self._call = ffi.new("rdk_match_call *")
        self._operations = ffi.new("rdk_operation[]", 1 << 16)
        self._call.operations, self._call.capacity = self._operations, 1 << 16

    def match(
        self, window: Buffer, new_bytes: Buffer, new_length: int, *, final: bool, anchors: Sequence[int]
    ) -> Matched:
        """Covers as much of ``window`` as can be decided, and appends what matches nothing to ``new_bytes``.

        ``new_bytes`` must have space for the whole window behind ``new_length``. Give the unconsumed rest again,
        followed by more; with ``final`` call until everything is consumed.
        """
        call = self._call
        source = pointer(window)
        native_anchors = ffi.new("uint64_t[]", list(anchors)) if anchors else ffi.NULL
        target = pointer(new_bytes)
        call.window, call.length, call.final = source, len(window), final
        call.anchors, call.anchor_count = native_anchors, len(anchors)
        call.references, call.reference_count = self._table.native, self._table.count
        call.new_bytes, call.new_length = target, new_length
        check(lib.rdk_match(self._matcher, call), "matching")
        raw = bytes(ffi.buffer(self._operations, call.operation_count * _OPERATION_BYTES))
        return Matched(raw, call.consumed, call.new_length)


class Extent(NamedTuple):
    """``length`` plain bytes from ``offset`` of ``reference``."""

    reference: int
    offset: int
    length: int


def find_delta_bases(
    table: ReferenceTable,
    operations: Operations,
    hints: Iterable[tuple[int, Extent]],
    most_bytes: int,
    join_bytes: int,
) -> tuple[bytes, list[Extent]]:
    """Returns which operations have delta bases in the corpora (a byte each), and these extents, sorted and joined.

    ``hints`` are further bases, (operation number, extent) in ascending order. At most ``most_bytes`` are taken beside
    a neighbouring copy; extents with at most ``join_bytes`` between them become one.
    """
    native_hints = [(s.offset, s.length, s.reference, at) for at, s in hints]
    has_base = bytearray(len(operations))
    capacity = 2 * len(operations) + len(native_hints) + 1
    out = ffi.new("rdk_extent[]", capacity)
    count = lib.rdk_delta_bases(
        table.native, table.count, operations._native(), len(operations),
        ffi.new("rdk_extent[]", native_hints), len(native_hints), most_bytes,
        pointer(has_base), out, capacity,
    )  # fmt: skip
    check(count, "finding delta bases")
    count = lib.rdk_extents_join(out, count, join_bytes)
    return bytes(has_base), [Extent(s.reference, s.offset, s.length) for s in out[0:count]]


class AlignedRange(NamedTuple):
    """``length`` plain bytes at ``offset`` of a blob and at ``donor_offset`` of an older one; most are the same."""

    offset: int
    donor_offset: int
    length: int


def aligned_ranges(operations: Operations, donor_numbers: Mapping[int, int], older: Operations) -> list[AlignedRange]:
    """Returns ranges that a blob mostly has in common with an older one, judged by what both copy from corpora.

    They ascend and do not overlap in the newer blob; most of their bytes are the same, not all. ``donor_numbers``
    maps reference numbers of the newer blob to those of the donor.
    """
    numbers = ffi.new("uint32_t[]", [donor_numbers.get(n, REFERENCES_LIMIT) for n in range(REFERENCES_LIMIT)])
    capacity = 2 * (len(operations) + len(older)) + 1
    out = ffi.new("rdk_aligned_range[]", capacity)
    count = lib.rdk_aligned_ranges(
        operations._native(), len(operations), numbers, older._native(), len(older), out, capacity
    )
    check(count, "finding aligned ranges")
    return [AlignedRange(p.offset, p.donor_offset, p.length) for p in out[0:count]]
