"""Real layers of about 1 MB, which are pushed within a second."""

from __future__ import annotations

import gzip
import random
from functools import cache

from tests.support.images import library_layer
from tests.support.sidecar_rig import noise


@cache
def real_layer(version: int, limit_bytes: int = 1_500_000) -> bytes:
    """A layer of Python's own sources, compressed as docker does it. Two versions differ as two builds do."""
    return gzip.compress(library_layer(version, limit_bytes).tar, 6, mtime=0)


def text(length: int, seed: int) -> bytes:
    """Random words of a small vocabulary, which compress a little better at a higher level."""
    chance = random.Random(seed)
    vocabulary = [noise(chance.randint(2, 6), number).hex() for number in range(3000)]
    return " ".join(chance.choices(vocabulary, k=length // 9))[:length].encode()
