"""Fingerprint tables: the chunk index and the hooks, which are read in mapped memory without loading them.

::

    u64 entry_count | u64 home_slots | 48 zero bytes | slots of (u64 fingerprint, u64 plain_offset) to the
    section's end

The kernel places and finds entries (cext/api/11_index.h says how); this module adds the prefix. Each fingerprint
occurs once, with the lowest offset that has it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence

from reducto.errors import Corrupt
from reducto.kernel.index import ABSENT, SLOT_BYTES, TableView, home_slots

PREFIX_BYTES = 64
ENTRY = struct.Struct("<QQ")
_PREFIX = struct.Struct("<QQ48x")


def prefix(entry_count: int) -> bytes:
    """The 64 bytes before the slots of a table of ``entry_count`` entries."""
    return _PREFIX.pack(entry_count, home_slots(entry_count))


class FingerprintTable:
    """Read access to one table in mapped memory. Raises `Corrupt` when its counts do not fit its length."""

    def __init__(self, section: memoryview) -> None:
        if len(section) < PREFIX_BYTES or len(section) % SLOT_BYTES:
            raise Corrupt("corpus table: wrong length")
        self.entry_count, self.home_slots = _PREFIX.unpack_from(section)
        self.slots = section[PREFIX_BYTES:]
        """The slots as the kernel's look-ups take them, together with `home_slots`."""
        slot_count = len(self.slots) // SLOT_BYTES
        if self.entry_count > slot_count or self.home_slots > slot_count:
            raise Corrupt("corpus table: its counts do not fit its length")
        if section[:PREFIX_BYTES] != prefix(self.entry_count):
            raise Corrupt("corpus table: damaged prefix")
        self._view = TableView(self.slots, self.home_slots)

    def __len__(self) -> int:
        return int(self.entry_count)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """All (fingerprint, plain offset) pairs in ascending order of fingerprint."""
        return (entry for entry in ENTRY.iter_unpack(self.slots) if entry[1] != ABSENT)

    def find(self, fingerprint: int) -> int | None:
        """The plain offset of the chunk with this fingerprint, or None."""
        return self._view.find(fingerprint)

    def find_many(self, fingerprints: Sequence[int]) -> array[int]:
        """Plain offsets of all ``fingerprints`` in one call; `ABSENT` where there is none."""
        return self._view.find_many(fingerprints)
