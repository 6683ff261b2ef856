"""Content-defined chunking, chunk fingerprints and tar anchors."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reducto.kernel._lib import Buffer, check, ffi, lib, pointer

#: One chunk as it lies in a `ChunkTable`: offset, fingerprint, length, flags.
CHUNK = struct.Struct("<QQII")
#: One tar member: header offset, content offset, content length, path hash.
MEMBER = struct.Struct("<QQQQ")
LARGE: int = lib.RDK_CHUNK_LARGE
FORCED: int = lib.RDK_CHUNK_FORCED
#: Longest piece of one call, in bytes: it bounds the tables that a call needs.
PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class ChunkParams:
    """FastCDC parameters. ``average_bytes`` is a power of two between 1 KiB and 1 MiB."""

    average_bytes: int = 8192
    lean_to_lines: bool = True

    @cached_property
    def native(self) -> Any:
        """The C structure (read-only). Raises `UsageError` for another average."""
        params = ffi.new("rdk_chunk_params *")
        bits = max(0, self.average_bytes.bit_length() - 1)
        status = lib.rdk_chunk_defaults(bits if 1 << bits == self.average_bytes else 0, params)
        check(status, f"chunk size {self.average_bytes} (a power of two from 1 KiB to 1 MiB)")
        params.lean_to_lines = self.lean_to_lines
        return params


@dataclass(frozen=True)
class ChunkTable:
    """The chunks of one piece: ``raw`` has ``len`` entries of `CHUNK`, which cover its first ``consumed`` bytes."""

    raw: memoryview
    consumed: int

    def __len__(self) -> int:
        return len(self.raw) // CHUNK.size

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        return CHUNK.iter_unpack(self.raw)

    def fingerprints(self, *, hooks_only: bool = False) -> list[int]:
        """Fingerprints in order; with ``hooks_only`` only those of chunks that end at a large-scale boundary."""
        return [entry[1] for entry in self if not hooks_only or entry[3] & LARGE]


class Chunker:
    """Cuts pieces of up to `PIECE_BYTES`. It owns its output buffer, so every thread needs its own."""

    def __init__(self, params: ChunkParams | None = None) -> None:
        self.params = params or ChunkParams()
        self._out = ffi.new("rdk_chunk[]", 1 << 16)
        self._consumed = ffi.new("size_t *")

    def scan(self, data: Buffer, *, final: bool, anchors: Sequence[int] = ()) -> ChunkTable:
        """Returns the chunks of ``data``, cut also at ``anchors`` (ascending offsets). Valid until the next call.

        Without ``final`` the last bytes stay uncovered: give them again, followed by more. The table may end early
        because it is full, so continue from ``consumed`` in any case.
        """
        native = ffi.new("uint64_t[]", list(anchors)) if anchors else ffi.NULL
        count = lib.rdk_chunk_scan(
            self.params.native, pointer(data), len(data), final, native, len(anchors),
            self._out, len(self._out), self._consumed,
        )  # fmt: skip
        check(count, "chunking")
        return ChunkTable(memoryview(ffi.buffer(self._out, count * CHUNK.size)), self._consumed[0])


class TarWalk:
    """Follows a tar stream and tells where members start. Other data give no members."""

    def __init__(self) -> None:
        self._walk = ffi.new("rdk_tar_walk *")
        lib.rdk_tar_start(self._walk)

    @property
    def is_tar(self) -> bool:
        """True from the first valid header on, until something is no tar."""
        return bool(self._walk.state == 1)

    def feed(self, data: Buffer) -> list[tuple[int, int, int, int]]:
        """Returns the members whose header block ends in ``data``.

        Each is (header offset, content offset, content length, path hash), with offsets in the stream.
        """
        capacity = len(data) // 512 + 2
        out = ffi.new("rdk_tar_member[]", capacity)
        count = check(lib.rdk_tar_feed(self._walk, pointer(data), len(data), out, capacity), "tar walk")
        return list(MEMBER.iter_unpack(ffi.buffer(out, count * MEMBER.size)))


def fingerprint(data: Buffer) -> int:
    """Returns the 64-bit fingerprint of ``data`` (version 1)."""
    return int(lib.rdk_fingerprint(pointer(data), len(data)))


def path_hash(path: str | bytes) -> int:
    """Returns the key of a member path in a path index: digits do not count, leading ``./`` is left out."""
    raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    return int(lib.rdk_path_hash(pointer(raw), len(raw)))
