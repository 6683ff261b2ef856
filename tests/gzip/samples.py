"""Plain bytes of every kind that layers hold, deterministic."""

from __future__ import annotations

import io
import random
import tarfile
import zlib
from functools import cache


@cache
def words(length: int, seed: int = 1) -> bytes:
    """Text of few frequent words and many rare ones."""
    rng = random.Random(seed)
    vocabulary = [bytes(rng.choices(b"etaoinshrdlucmfwypvbgkjqxz", k=rng.randint(2, 11))) for _ in range(3000)]
    out = bytearray()
    while len(out) < length:
        word = vocabulary[min(int(rng.expovariate(1 / 250)), len(vocabulary) - 1)]
        out += word + rng.choice((b" ", b" ", b" ", b", ", b"\n", b".\n"))
    return bytes(out[:length])


@cache
def noise(length: int, seed: int = 2) -> bytes:
    """Incompressible bytes."""
    return random.Random(seed).randbytes(length)


@cache
def code(length: int, seed: int = 3) -> bytes:
    """Bytes like machine code: some values are frequent, and short repeats lie near and far."""
    rng = random.Random(seed)
    out = bytearray(rng.choices(range(256), weights=[1 + 4000 // (i + 1) for i in range(256)], k=4096))
    while len(out) < length:
        if rng.random() < 0.7:
            start = max(0, len(out) - rng.choice((64, 512, 4096, 32768, 100_000))) + rng.randint(0, 40)
            out += out[start : start + rng.randint(3, 300 if rng.random() < 0.1 else 24)]
        out += rng.randbytes(rng.randint(0, 6))
    return bytes(out[:length])


def constant(length: int) -> bytes:
    """One byte repeated."""
    return b"\0" * length


@cache
def sparse(length: int, seed: int = 4) -> bytes:
    """Zeros with other bytes here and there."""
    rng = random.Random(seed)
    out = bytearray(length)
    for _ in range(length // 20_000 + 1):
        at = rng.randrange(max(length, 1))
        island = rng.randbytes(rng.randint(1, 600))[: length - at]
        out[at : at + len(island)] = island
    return bytes(out)


@cache
def archive(length: int, seed: int = 5) -> bytes:
    """A tar of files of all these kinds."""
    rng = random.Random(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        number = 0
        while buffer.tell() < length:
            size = int(rng.expovariate(1 / 20_000))
            make = rng.choice((words, words, code, code, noise, sparse))
            data = zlib.compress(make(size, number)) if rng.random() < 0.1 else make(size, number)
            info = tarfile.TarInfo(f"usr/lib/part{number % 7}/file-{number}.{make.__name__}")
            info.size, info.mtime = len(data), 1_700_000_000 + number
            tar.addfile(info, io.BytesIO(data))
            number += 1
    return buffer.getvalue()[:length]


KINDS = (words, noise, code, constant, sparse, archive)


@cache
def mixed(length: int, seed: int) -> bytes:
    """Runs of all kinds, of random lengths."""
    rng = random.Random(seed)
    out = bytearray()
    while len(out) < length:
        kind = rng.choice(KINDS)
        stretch = rng.choice((10, 200, 5_000, 70_000, 300_000))
        piece = kind(400_000)
        start = rng.randrange(len(piece))
        out += piece[start : start + rng.randint(1, stretch)]
    return bytes(out[:length])
