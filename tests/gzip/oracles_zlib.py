"""Real encoders that come from zlib: zlib itself (through Python), GNU gzip, pigz, java.util.zip, Node."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.gzip.oracles import Encode, Oracle, piped

SOURCES = Path(__file__).parent / "zlib_oracle"
LEVELS = range(1, 10)
#: pigz: options, the name of the model, its levels.
PIGZ_KINDS = {
    "": ((), "pigz-level-", LEVELS),
    "single-": (("-p1",), "pigz-single-thread-level-", LEVELS),
    "independent-": (("-i",), "pigz-independent-level-", LEVELS),
    "rsyncable-": (("--rsyncable",), "pigz-rsyncable-level-", range(4, 10)),
    "rsyncable-independent-": (("--rsyncable", "-i"), "pigz-rsyncable-independent-level-", LEVELS),
}


def deflate(level: int, *, window_bits: int = 15, memory: int = 8, strategy: int = 0) -> Encode:
    """zlib with gzip framing, the whole input at once."""

    def encode(plain: bytes) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, 16 + window_bits, memory, strategy)
        return compressor.compress(plain) + compressor.flush()

    return encode


def flushed(level: int, every: int, mode: int = zlib.Z_SYNC_FLUSH) -> Encode:
    """zlib with a flush after every so many bytes."""

    def encode(plain: bytes) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
        out = bytearray()
        for start in range(0, len(plain), every):
            out += compressor.compress(plain[start : start + every])
            if start + every < len(plain):
                out += compressor.flush(mode)
        return bytes(out + compressor.flush())

    return encode


@cache
def version_of(command: str) -> str:
    """The version that a program prints; ``none`` if it is missing."""
    if shutil.which(command) is None:
        return "none"
    said = subprocess.run([command, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    found = re.search(rb"\d+(\.\d+)*", said.stdout)
    return found[0].decode() if found else "unknown"


def _installed(command: str, *arguments: str) -> Callable[[], Encode | None]:
    return lambda: piped(command, *arguments) if shutil.which(command) else None


def _ours(encoder: Encode) -> Callable[[], Encode | None]:
    return lambda: encoder


def zlib_oracles() -> Iterator[Oracle]:
    """zlib at every level, strategy and window size."""
    version = zlib.ZLIB_RUNTIME_VERSION
    for level in LEVELS:
        yield Oracle("zlib", version, f"level{level}", f"zlib-level-{level}", _ours(deflate(level)))
        fixed = deflate(level, strategy=zlib.Z_FIXED)
        yield Oracle("zlib", version, f"fixed{level}", f"zlib-fixed-level-{level}", _ours(fixed), level == 6)
        for bits in range(9, 15):
            narrow = deflate(level, window_bits=bits)
            model = f"zlib-window-{bits}-level-{level}"
            kept = (bits, level) in ((9, 1), (12, 6))
            yield Oracle("zlib", version, f"window{bits}-level{level}", model, _ours(narrow), kept)
    for level in range(4, 10):
        filtered = deflate(level, strategy=zlib.Z_FILTERED)
        yield Oracle("zlib", version, f"filtered{level}", f"zlib-filtered-level-{level}", _ours(filtered), level == 6)
    literals, runs = deflate(6, strategy=zlib.Z_HUFFMAN_ONLY), deflate(6, strategy=zlib.Z_RLE)
    yield Oracle("zlib", version, "huffman-only", "zlib-huffman-only", _ours(literals), False)
    yield Oracle("zlib", version, "rle", "zlib-rle", _ours(runs))


def gnu_oracles() -> Iterator[Oracle]:
    """GNU gzip at every level."""
    version = version_of("gzip")
    for level in LEVELS:
        plain = _installed("gzip", "-nc", f"-{level}")
        yield Oracle("gnu-gzip", version, f"level{level}", f"gnu-gzip-level-{level}", plain)
        rsyncable = _installed("gzip", "-nc", f"-{level}", "--rsyncable")
        name = f"gnu-gzip-rsyncable-level-{level}"
        yield Oracle("gnu-gzip", version, f"rsyncable{level}", name, rsyncable, level in (1, 6))


def pigz_oracles() -> Iterator[Oracle]:
    """pigz at every level, in each of its ways to cut the input."""
    version = version_of("pigz")
    for kind, (options, model, levels) in PIGZ_KINDS.items():
        for level in levels:
            found = _installed("pigz", "-nc", f"-{level}", *(options if "-p1" in options else ("-p2", *options)))
            same = kind == "single-" and level > 3  # from level 4 on, one thread and several give the same bytes
            name = f"pigz-level-{level}" if same else f"{model}{level}"
            kept = kind == "" or level == (1 if kind == "single-" else 6)
            yield Oracle("pigz", version, f"{kind}level{level}", name, found, kept)


def node_oracles() -> Iterator[Oracle]:
    """Node's zlib, which is Chromium's."""
    for level in LEVELS:
        found = _installed("node", str(SOURCES / "gzip.js"), str(level))
        yield Oracle("node", version_of("node"), f"level{level}", f"chromium-zlib-level-{level}", found)


def java_oracles() -> Iterator[Oracle]:
    """java.util.zip, which is zlib."""
    for level in (1, 6, 9):
        found = _installed("java", str(SOURCES / "Gzip.java"), str(level))
        yield Oracle("java", version_of("java"), f"level{level}", f"zlib-level-{level}", found, level == 6)


def all_of_zlib() -> list[Oracle]:
    """All of these encoders."""
    return [*zlib_oracles(), *gnu_oracles(), *pigz_oracles(), *node_oracles(), *java_oracles()]
