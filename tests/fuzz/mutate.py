"""Makes inputs that are almost valid, by changing, deleting and repeating bytes and by mixing seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

#: Numbers and words that parsers often handle wrongly.
_INTERESTING = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 8, b"\0" * 8, b"\x80" * 10, b"-1", b"1e999", b"NaN", b"null", b"[]",
    b"{}", b'""', b"99999999999999999999999", b"\\ud800", b"[" * 2000, b"..", b"%2e", b"/", b"true", b'"a":' * 3,
)  # fmt: skip


def mutants(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yields the seeds and then endless variations of them. The same ``seed`` gives the same variations."""
    yield from seeds
    rng = random.Random(seed)
    while True:
        data = bytearray(rng.choice(seeds))
        for _ in range(1 << rng.randrange(4)):
            data = _changed(data, rng, seeds)
        yield bytes(data)


def _changed(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> bytearray:
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.choice((1, 1, 2, 8, 64, 1000)))
    match rng.randrange(7):
        case 0 if start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        case 1 if start < len(data):
            data[start] = rng.randrange(256)
        case 2:
            del data[start:stop]
        case 3:
            data[start:start] = data[start:stop]
        case 4:
            data[start:stop] = rng.choice(_INTERESTING)
        case 5:
            other = rng.choice(seeds)
            at = rng.randrange(len(other) + 1)
            data[start:stop] = other[at : at + stop - start]
        case _:
            data[start:start] = rng.choice(_INTERESTING)
    return data
