"""Runs a gzip file through reader and recipe and checks everything that can be checked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from reducto.gzip import ContainerLimits, GzipRecipe, open_container, recipe_from_bytes
from reducto.values import ByteRange, Stored
from reducto.workers import Submit


class PlainBytes:
    """Plain bytes in memory as a `PlainReader`, counting what is read."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.lowest = len(data)
        self.read_bytes = 0

    def read(self, plain_offset: int, length: int) -> memoryview:
        """The bytes; fails on anything beyond the end."""
        assert 0 <= plain_offset <= plain_offset + length <= len(self._data)
        self.lowest = min(self.lowest, plain_offset)
        self.read_bytes += length
        return self._data[plain_offset : plain_offset + length]


@dataclass(frozen=True)
class Exact:
    """A file that was rebuilt bit for bit."""

    encoder: str
    corrected_segments: int
    correction_bytes: int
    recipe_bytes: int
    recipe: GzipRecipe
    plain: bytes


@contextmanager
def workers(count: int = 2) -> Iterator[Submit]:
    """A pool's ``submit``."""
    with ThreadPoolExecutor(count) as pool:
        yield pool.submit


def read_container(
    wire: bytes, *, submit: Submit | None = None, limits: ContainerLimits | None = None, seed: int = 0
) -> tuple[GzipRecipe | Stored, bytes]:
    """Feeds ``wire`` in pieces of random length; the outcome and the plain bytes."""
    rng = random.Random(seed)
    reader = open_container(wire[:16], submit, limits)
    plain = bytearray()
    at = 0
    while at < len(wire):
        step = rng.choice((1, 17, 4096, 65536, 1 << 20))
        reader.feed(wire[at : at + step], plain.extend)
        at += step
    outcome = reader.finish()
    assert isinstance(outcome, GzipRecipe | Stored)
    return outcome, bytes(plain)


def recipe_of(wire: bytes) -> GzipRecipe:
    """The recipe of a gzip file that has one."""
    outcome, _ = read_container(wire)
    assert isinstance(outcome, GzipRecipe), outcome
    return outcome


def assert_exact(model: str | None, plain: bytes, wire: bytes, *, submit: Submit | None = None, seed: int = 0) -> Exact:
    """Fails unless ``wire`` comes back bit for bit from ``plain``, whole and in ranges.

    ``model`` names the encoder that must be found; None: any will do.
    """
    outcome, found = read_container(wire, submit=submit, seed=seed)
    assert isinstance(outcome, GzipRecipe), outcome
    assert found == plain
    data = outcome.to_bytes()
    recipe = recipe_from_bytes(data)
    assert isinstance(recipe, GzipRecipe)
    assert (recipe.wire_length, recipe.plain_length) == (len(wire), len(plain))
    assert b"".join(recipe.rebuild(PlainBytes(plain), submit=submit)) == wire
    rng = random.Random(seed)
    for _ in range(4):
        start = rng.randint(0, len(wire))
        stop = rng.randint(start, min(len(wire), start + 300_000))
        assert b"".join(recipe.rebuild(PlainBytes(plain), ByteRange(start, stop), submit)) == wire[start:stop]
    if model is not None:
        assert recipe.encoder == model
    segments = [segment.corrections for member in recipe.members for segment in member.segments]
    corrected = [segment for segment in segments if segment]
    return Exact(recipe.encoder, len(corrected), sum(map(len, corrected)), len(data), recipe, plain)
