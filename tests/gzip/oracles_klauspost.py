"""Real encoders of the klauspost family: klauspost/compress, pgzip, and Go from 1.27 on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.gzip.oracles import Encode, Oracle, go_binary, home, piped

SOURCE = Path(__file__).parent / "klauspost_oracle" / "main.go"
PGZIP_VERSION = "1.2.6"
GO_VERSIONS = ("1.27",)
#: Releases that write the same bytes, by the first of them, and those that are tested. (1.16 and 1.17 are 1.15.11 up to
#: level 6 and 1.18.0 at the higher ones.)
GROUPS = {
    "1.15.0": ("1.15.0", "1.15.9"),
    "1.15.11": ("1.15.12",),
    "1.18.0": ("1.18.0",),
    "1.18.2": ("1.18.2", "1.20.3"),
}
LEVELS = (-2, *range(10))


def module_versions() -> list[str]:
    """Every release of klauspost/compress that is tested."""
    return [version for group in GROUPS.values() for version in group]


@cache
def binary(version: str) -> Path | None:
    """The oracle built with ``version`` of klauspost/compress."""
    built = home() / f"klauspost-{version}" / "klauspost_oracle"
    return built if built.exists() else None


def model_name(encoder: str, group: str, level: int) -> str:
    """The model that is exact for releases of ``group``."""
    if level in (0, -2):
        return f"{encoder}-1.15.0-" + ("huffman-only" if level else "level-0")
    if encoder == "klauspost" and group == "1.18.2":
        return f"go-1.27-level-{level}"
    same = {4: {"1.15.11": "1.15.0"}, 7: {"1.15.11": "1.15.0", "1.18.0": "1.16.0"}}
    rest = {"1.18.0": "1.15.11"}
    return f"{encoder}-{same.get(min(level, 7), rest).get(group, group)}-level-{level}"


def _find(encoder: str, version: str, level: int) -> Callable[[], Encode | None]:
    def find() -> Encode | None:
        found = binary(version)
        return piped(found, encoder, str(level)) if found else None

    return find


def _find_go(version: str, level: int) -> Callable[[], Encode | None]:
    def find() -> Encode | None:
        found = go_binary(version)
        return piped(found, str(level)) if found else None

    return find


def klauspost_oracles() -> Iterator[Oracle]:
    """klauspost/compress gzip, and pgzip with it."""
    for group, versions in GROUPS.items():
        for version in versions:
            for level in LEVELS:
                for encoder in ("klauspost", "pgzip"):
                    model = model_name(encoder, group, level)
                    program = "gzip" if encoder == "klauspost" else "pgzip"
                    yield Oracle(encoder, version, f"level{level}", model, _find(program, version, level))


def go_oracles() -> Iterator[Oracle]:
    """Go 1.27."""
    for version in GO_VERSIONS:
        for level in LEVELS:
            model = model_name("klauspost", "1.18.2", level)
            yield Oracle("go", version, f"level{level}", model, _find_go(version, level))
