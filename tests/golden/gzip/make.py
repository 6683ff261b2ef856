"""Makes the golden gzip files from the real encoders: ``python -m tests.golden.gzip.make [NAME ...]``.

A golden file is never replaced: recipes that are stored somewhere rely on what its model did on the day it was made.
Only files that do not exist yet are written. Each ``ENCODER-VERSION-LEVEL.gz`` comes with the recipe of that day
(``.recipe``, serialised), which must rebuild the file for ever.
"""

from __future__ import annotations

import sys
from pathlib import Path

from reducto.gzip import GzipRecipe
from tests.gzip import oracles, samples
from tests.gzip.helpers import read_container

HERE = Path(__file__).parent
#: Versions of one encoder that make the same bytes need one golden file: of these.
VERSIONS = {
    "go": ("1.26", "1.27"),
    "klauspost": ("1.15.0", "1.15.12", "1.18.0"),
    "pgzip": ("1.15.12", "1.20.3"),
}
#: Encoders with many levels and options, whose files are kept small.
SMALL = ("zlib", "gnu-gzip", "pigz", "node", "java", "klauspost", "pgzip")


def small_bytes() -> bytes:
    """A window and more of text, code and noise, and enough that repeats for a second segment."""
    repeated = samples.archive(6_000, 12)
    pieces = [samples.archive(9_000, 13), samples.constant(300_000), repeated * 3, samples.noise(3_000)]
    return b"".join(
        [*pieces, repeated * 150, samples.sparse(60_000), samples.code(8_000, 14), samples.words(8_000, 15)]
    )


def plain_bytes(level: str) -> bytes:
    """More than one segment where that is small when compressed; a few chunks where nothing is compressed."""
    if level in ("level0", "level-2"):
        return samples.mixed(70_000, 11)
    repeated = samples.archive(20_000, 12)
    pieces = [
        samples.archive(40_000, 13),
        samples.constant(100_000),
        repeated * 3,
        samples.sparse(400_000),
        repeated * 30,
    ]
    return b"".join([*pieces, samples.code(20_000, 14), samples.words(20_000, 15)])


def main(names: list[str]) -> None:
    """Writes what is missing and can be made here."""
    for oracle in oracles.all_oracles():
        target = HERE / f"{oracle.name}.gz"
        versions = VERSIONS.get(oracle.encoder, (oracle.version,))
        if oracle.version not in versions or (names and oracle.name not in names):
            continue
        if not (oracle.golden or names):
            continue
        encode = oracle.find()
        if encode is None or target.exists():
            print(f"{oracle.name}: {'exists' if target.exists() else 'encoder is missing'}")
            continue
        wire = encode(small_bytes() if oracle.encoder in SMALL else plain_bytes(oracle.level))
        outcome, _ = read_container(wire)
        if not isinstance(outcome, GzipRecipe):
            print(f"{oracle.name}: {outcome}")
            continue
        target.write_bytes(wire)
        target.with_suffix(".recipe").write_bytes(outcome.to_bytes())
        print(f"{oracle.name}: {len(wire)} bytes, recipe {len(outcome.to_bytes())}, {outcome.encoder}")


if __name__ == "__main__":
    main(sys.argv[1:])
