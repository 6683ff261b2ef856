"""Makes the golden token delta: ``python -m tests.golden.tokens.make``.

``newer.gz`` is by the real encoder, ``newer.delta`` tells its tokens by those of the golden ``go-1.26-level6.gz``.
Neither is ever replaced: what is stored in a registry must be understood for ever. Only what does not exist yet is
written.
"""

from __future__ import annotations

from pathlib import Path

from reducto.gzip import TokenDelta, make_token_delta
from reducto.kernel.matching import AlignedRange
from tests.golden.gzip.make import plain_bytes
from tests.gzip import oracles, samples
from tests.gzip.helpers import PlainBytes, recipe_of

HERE = Path(__file__).parent
OLDER = HERE.parent / "gzip" / "go-1.26-level6.gz"
NEW = samples.code(5_000, 21)


def newer_plain() -> bytes:
    """The older plain bytes with a few that differ, and 5,000 new ones in front of the last quarter."""
    old = bytearray(plain_bytes("level6"))
    for at in range(10_000, len(old), 90_000):
        old[at : at + 3] = b"new"
    cut = inserted_at()
    return bytes(old[:cut]) + NEW + bytes(old[cut:])


def inserted_at() -> int:
    return len(plain_bytes("level6")) * 3 // 4


def delta_of(newer: bytes) -> TokenDelta:
    """As an origin makes it."""
    older, plain, cut = OLDER.read_bytes(), newer_plain(), inserted_at()
    behind = AlignedRange(cut + len(NEW), cut, len(plain) - cut - len(NEW))
    delta = make_token_delta(
        recipe_of(newer),
        memoryview(newer),
        PlainBytes(plain),
        recipe_of(older),
        memoryview(older),
        [AlignedRange(0, 0, cut), behind],
    )
    assert delta is not None
    return delta


def main() -> None:
    """Writes what is missing."""
    wire, delta = HERE / "newer.gz", HERE / "newer.delta"
    if not wire.exists():
        encode = next(oracle for oracle in oracles.go_oracles() if oracle.name == "go-1.26-level6").encode
        wire.write_bytes(encode(newer_plain()))
    if not delta.exists():
        delta.write_bytes(delta_of(wire.read_bytes()).to_bytes())


if __name__ == "__main__":
    main()
