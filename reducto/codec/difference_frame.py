"""What a DIFFERENCE frame stores: new bytes as differences from their twins, column by column.

zstd with the twins as prefix copies what is the same; compiled code whose addresses moved is nowhere the same for long.
Differences say where it is *nearly* the same and what to add to the bytes that changed: small numbers that recur.
docs/formats/packed-corpus.md describes the columns.
"""

from __future__ import annotations

import zstandard

from reducto import bounded, varint
from reducto.errors import Corrupt
from reducto.kernel.difference import ADDED, COLUMNS, LITERALS, NEAR, DifferenceReader, difference_columns

#: Plain bytes of the longest DIFFERENCE frame: its columns are held in memory while it is read.
DIFFERENCE_LIMIT_BYTES = 16 << 20
# Columns hold no more than twice the plain bytes, and this.
_COLUMNS_SLACK_BYTES = 64
# Literals are what is really new. An optimal parse with short matches makes them a tenth shorter as a rule, in eight
# times the time, and much shorter at times: below this level a sample decides.
_OPTIMAL_LEVEL = 12
_OPTIMAL_PAYS = 0.85
_SAMPLE_BYTES = 64 << 10
_LITERALS_LEVEL = 16
# Where no more than this of the bytes changed or is literals, and differences are long on average, a delta with the
# twins as prefix is seldom shorter, and never by much.
_FEW_CHANGES = 1 / 6
_FEW_LITERALS = 2 / 5
_LONG_AVERAGE_BYTES = 64
_SHORT_BYTES = 256 << 10


def compress_difference(data: bytes | memoryview, twins: bytes | memoryview, level: int) -> tuple[bytes, bool] | None:
    """``data`` as differences from ``twins``, and whether that will do; None if they are unlike."""
    columns = difference_columns(twins, data)
    if columns is None or sum(map(len, columns)) > _columns_limit(len(data)):
        return None
    packed = [zstandard.ZstdCompressor(level=level).compress(column) for column in columns[:LITERALS]]
    packed.append(_compress_literals(columns[LITERALS], level))
    head = bytearray()
    varint.put(head, *map(len, packed))
    stored = bytes(head) + b"".join(packed)
    few = len(columns[ADDED]) < _FEW_CHANGES * len(data) and len(columns[LITERALS]) < _FEW_LITERALS * len(data)
    long = _LONG_AVERAGE_BYTES * len(columns[NEAR]) < len(data)  # a byte or two for each
    return stored, few and long and len(data) > _SHORT_BYTES


def _compress_literals(literals: bytes, level: int) -> bytes:
    if level < _OPTIMAL_LEVEL:
        middle = max(0, (len(literals) - _SAMPLE_BYTES) // 2)
        sample = literals[middle : middle + _SAMPLE_BYTES]
        if len(_optimal(level, sample)) > _OPTIMAL_PAYS * len(_fast(level, sample)):
            return _fast(level, literals)
    return _optimal(level, literals)


def _fast(level: int, data: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), strategy=zstandard.STRATEGY_LAZY2, search_log=4, min_match=4
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _optimal(level: int, data: bytes) -> bytes:
    short = {"strategy": zstandard.STRATEGY_BTOPT, "search_log": 2, "min_match": 3} if level < _LITERALS_LEVEL else {}
    parameters = zstandard.ZstdCompressionParameters.from_level(
        max(level, _LITERALS_LEVEL), source_size=len(data), **short
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _columns_limit(plain_length: int) -> int:
    return 2 * plain_length + _COLUMNS_SLACK_BYTES


def open_difference(stored: bytes | memoryview, twins: bytes | memoryview, plain_length: int) -> DifferenceReader:
    """A reader of what `compress_difference` made. Raises `Corrupt`."""
    numbers = varint.Numbers(stored, "a frame of a packed corpus")
    lengths = [numbers.take() for _ in range(COLUMNS)]
    left, columns = _columns_limit(plain_length), []
    for length in lengths:
        column = bounded.decompress(numbers.raw(length), left, "a frame of a packed corpus")
        left -= len(column)
        columns.append(column)
    if numbers.at != len(stored):
        raise Corrupt("a frame of a packed corpus is longer than its columns")
    return DifferenceReader(columns, twins)
