"""A blob's new bytes while it is encoded: a growing mapped file without a name."""

from __future__ import annotations

import os
import tempfile
from typing import cast

from reducto.corpus.writer import SegmentHasher
from reducto.mapped import Mapped

#: Disk that is reserved at a time.
_GROW_BYTES = 16 << 20


class NewBytesSpool:
    """New bytes in order of arrival. The kernel appends to `mapping`; `length` says how many are valid.

    Disk is reserved before it is written to, so a full disk is an `OSError` here and never a signal (SIGBUS) in the
    kernel. At most ``limit_bytes`` fit in.
    """

    def __init__(self, spool_dir: str | os.PathLike[str], limit_bytes: int) -> None:
        self._file = tempfile.TemporaryFile(dir=spool_dir)  # noqa: SIM115
        self._reserved = 0
        self._hasher = SegmentHasher()
        os.ftruncate(self._file.fileno(), limit_bytes)
        self.mapping = memoryview(Mapped(self._file.fileno(), limit_bytes))
        self._mapped.touched = 0
        self.length = 0

    def reserve(self, more: int) -> None:
        """Reserves disk for ``more`` bytes after `length`. Raises `OSError` when the disk is full."""
        wanted = self.length + more
        if wanted > self._reserved:
            grow = max(_GROW_BYTES, wanted - self._reserved)
            grow = min(grow, len(self.mapping) - self._reserved)
            os.posix_fallocate(self._file.fileno(), self._reserved, grow)
            self._reserved += grow
            self._mapped.touched = self._reserved

    def hash_up_to(self, length: int) -> None:
        """Takes the bytes up to ``length`` into the segment hashes; call in ascending order."""
        self._hasher.update(self.mapping[self._hasher.length : length])

    def segment_hashes(self) -> bytes:
        """The BLAKE3 hash of every MiB of the bytes that were hashed. Nothing can be hashed afterwards."""
        return self._hasher.finish()

    def forget(self, start: int, stop: int) -> None:
        """Drops the pages within ``start..stop`` from this process's memory; they can still be read."""
        self._mapped.discard_pages(start, stop)

    def close(self) -> None:
        """Drops the file; its disk is free once no view of `mapping` is left. Idempotent."""
        self._file.close()
        self.mapping = memoryview(b"")

    @property
    def _mapped(self) -> Mapped:
        return cast(Mapped, self.mapping.obj)
