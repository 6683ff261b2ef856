"""Real layers of a size that is pushed in a moment."""

from __future__ import annotations

import gzip
from functools import cache

from tests.support.images import library_layer


@cache
def real_layer(version: int, limit_bytes: int = 1_500_000) -> bytes:
    """Python's own sources as docker would compress them; versions differ as two builds do."""
    return gzip.compress(library_layer(version, limit_bytes).tar, 6, mtime=0)
