"""Mapped files, and memory for large data that is needed for a while: mapped files without a name."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Self

from reducto.kernel.buffers import copy_bytes, discard_pages


class Mapped(mmap.mmap):
    """A mapping that is dropped without holding the GIL for long. Dropping still blocks its thread.

    Python unmaps memory, and closes a mapping's file, while it holds the GIL. For gigabytes, or if the file has no name
    any more, that takes some tenths of a second. So this class first drops the pages while it does not hold the GIL,
    then unmaps, and then closes the file.
    """

    touched: int | None = None
    """Only so many bytes at the front can be in memory; None if any byte can be."""
    _kept: int

    def __new__(cls, descriptor: int, length: int, access: int = mmap.ACCESS_DEFAULT) -> Self:
        kept = os.dup(descriptor)
        try:
            made = super().__new__(cls, descriptor, length, access=access)
        except BaseException:
            os.close(kept)
            raise
        made._kept = kept
        return made

    def discard_pages(self, start: int = 0, stop: int | None = None) -> None:
        """Drops the pages within ``start..stop``, by default all, from this process's memory.

        Their bytes can still be read: the system reads them from the file again.
        """
        if stop is None:
            stop = len(self) if self.touched is None else self.touched
        first, last = -(-start // mmap.PAGESIZE), stop // mmap.PAGESIZE
        if first < last:
            discard_pages(self, first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE)

    def __del__(self) -> None:
        self.discard_pages()
        with contextlib.suppress(BufferError):  # views of it are still there; the garbage collector drops it with them
            self.close()
        os.close(self._kept)


def scratch(spool_dir: str | os.PathLike[str], length: int) -> memoryview:
    """``length`` writable bytes in a file without a name, which vanishes with the last view.

    Raises `OSError` when the disk is full.
    """
    if not length:
        return memoryview(b"")
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        os.posix_fallocate(file.fileno(), 0, length)
        return memoryview(Mapped(file.fileno(), length))


def joined(spool_dir: str | os.PathLike[str], views: Sequence[bytes | memoryview]) -> memoryview:
    """The views one after the other in a file without a name. Raises `OSError` when the disk is full."""
    out, at = scratch(spool_dir, sum(map(len, views))), 0
    for view in views:
        copy_bytes(view, out[at:])
        at += len(view)
    return out
