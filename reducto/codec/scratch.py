"""Memory for much that is needed for a while: files without a name, mapped."""

from __future__ import annotations

import mmap
import os
import tempfile


def scratch(spool_dir: str | os.PathLike[str], length: int) -> memoryview:
    """``length`` writable bytes of a file without a name, gone with the last view. Raises `OSError` (no room)."""
    if not length:
        return memoryview(b"")
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        os.posix_fallocate(file.fileno(), 0, length)
        return memoryview(mmap.mmap(file.fileno(), length))
