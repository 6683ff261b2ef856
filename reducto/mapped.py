"""Mapped files, and memory for much that is needed for a while: files without a name, mapped."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Self

from reducto.kernel.buffers import copy_bytes, discard_pages


class Mapped(mmap.mmap):
    """A mapping whose end is no burden to others. It still takes its time: not for the event loop.

    Python unmaps, and closes its file, while everybody else waits for the interpreter. For gigabytes, or when the file
    has no name any more, that takes a good part of a second. So pages are given back before, while others run, and the
    file is closed after.
    """

    touched: int | None = None
    """Bytes at the front that may be in memory; None: any may be."""
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
        """Lets go of the pages within ``start..stop``, by default of all, in this process's memory.

        What they hold can still be read.
        """
        if stop is None:
            stop = len(self) if self.touched is None else self.touched
        first, last = -(-start // mmap.PAGESIZE), stop // mmap.PAGESIZE
        if first < last:
            discard_pages(self, first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE)

    def __del__(self) -> None:
        self.discard_pages()
        with contextlib.suppress(BufferError):  # its views go with it, by the garbage collector
            self.close()
        os.close(self._kept)


def scratch(spool_dir: str | os.PathLike[str], length: int) -> memoryview:
    """``length`` writable bytes of a file without a name, gone with the last view. Raises `OSError` (no room)."""
    if not length:
        return memoryview(b"")
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        os.posix_fallocate(file.fileno(), 0, length)
        return memoryview(Mapped(file.fileno(), length))


def joined(spool_dir: str | os.PathLike[str], views: Sequence[bytes | memoryview]) -> memoryview:
    """The views one after the other in a file without a name. Raises `OSError` (no room)."""
    out, at = scratch(spool_dir, sum(map(len, views))), 0
    for view in views:
        copy_bytes(view, out[at:])
        at += len(view)
    return out
