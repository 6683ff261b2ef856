"""Memory for much that is needed for a while: files without a name, mapped."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence

from reducto.kernel.buffers import copy_bytes


def scratch(spool_dir: str | os.PathLike[str], length: int) -> memoryview:
    """``length`` writable bytes of a file without a name, gone with the last view. Raises `OSError` (no room)."""
    if not length:
        return memoryview(b"")
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        os.posix_fallocate(file.fileno(), 0, length)
        return memoryview(mmap.mmap(file.fileno(), length))


def joined(spool_dir: str | os.PathLike[str], views: Sequence[bytes | memoryview]) -> memoryview:
    """The views one after the other in a file without a name. Raises `OSError` (no room)."""
    out, at = scratch(spool_dir, sum(map(len, views))), 0
    for view in views:
        copy_bytes(view, out[at:])
        at += len(view)
    return out
