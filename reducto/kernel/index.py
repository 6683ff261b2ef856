"""Tables from fingerprint to plain offset that are used where they lie mapped."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from reducto.kernel._lib import Buffer, check, ffi, lib
from reducto.kernel.buffers import hold

#: Bytes of one slot: fingerprint and plain offset, both u64 little-endian.
SLOT_BYTES = 16
#: The answer of a look-up for an absent fingerprint.
ABSENT = (1 << 64) - 1


def home_slots(entries: int) -> int:
    """Returns the number of slots over which a table spreads ``entries`` distinct fingerprints."""
    return int(lib.rdk_index_home_slots(entries))


def sort_entries(entries: bytearray) -> int:
    """Sorts (fingerprint, offset) pairs in place and drops repeated fingerprints. Returns how many pairs are left."""
    view = ffi.from_buffer("rdk_entry[]", entries, require_writable=True)
    return int(lib.rdk_index_sort(view, len(entries) // SLOT_BYTES))


class TablePlacer:
    """Makes a table of ``home`` home slots piece by piece from sorted distinct (fingerprint, offset) pairs."""

    def __init__(self, home: int) -> None:
        self._home = home
        self._next = ffi.new("uint64_t *", 0)

    def place(self, entries: Buffer) -> memoryview:
        """Returns the slots of the next ``entries``, with the empty ones before and between them."""
        count = len(entries) // SLOT_BYTES
        if not count:
            return memoryview(b"")
        first = self._next[0]
        highest = int.from_bytes(memoryview(entries)[-SLOT_BYTES : -SLOT_BYTES // 2], "little")
        capacity = max((highest * self._home >> 64) - first, 0) + count + 1
        slots = bytearray(capacity * SLOT_BYTES)
        check(
            lib.rdk_index_place(
                ffi.from_buffer("rdk_entry[]", entries), count, self._home,
                ffi.from_buffer("rdk_entry[]", slots, require_writable=True), capacity, self._next,
            ),
            "building an index",
        )  # fmt: skip
        return memoryview(slots)[: (self._next[0] - first) * SLOT_BYTES]

    def finish(self) -> bytes:
        """Returns the empty slots that are left at the end."""
        return b"\xff" * (max(self._home - int(self._next[0]), 0) * SLOT_BYTES)


def build_table(entries: bytearray) -> tuple[bytes, int]:
    """Returns the table of ``entries``, which are sorted in place, and its number of home slots."""
    count = sort_entries(entries)
    home = home_slots(count)
    placer = TablePlacer(home)
    return b"".join((placer.place(memoryview(entries)[: count * SLOT_BYTES]), placer.finish())), home


class TableView:
    """Looks fingerprints up in a table in ``slots`` (bytes or a mapping)."""

    def __init__(self, slots: Buffer, home: int) -> None:
        self._held = hold(slots)
        self._slots = ffi.cast("rdk_entry *", ffi.from_buffer(slots))
        self._count = len(slots) // SLOT_BYTES
        self._home = home

    def find(self, fingerprint: int) -> int | None:
        """Returns the plain offset stored under ``fingerprint``, or None."""
        offset = int(lib.rdk_index_find(self._slots, self._count, self._home, fingerprint))
        return None if offset == ABSENT else offset

    def find_many(self, fingerprints: Sequence[int]) -> array[int]:
        """Returns the offsets of all ``fingerprints``, in one call; `ABSENT` where there is none."""
        keys = array("Q", fingerprints)
        out = array("Q", bytes(8 * len(keys)))
        lib.rdk_index_find_many(
            self._slots, self._count, self._home, ffi.from_buffer("uint64_t[]", keys), len(keys),
            ffi.from_buffer("uint64_t[]", out, require_writable=True),
        )  # fmt: skip
        return out
