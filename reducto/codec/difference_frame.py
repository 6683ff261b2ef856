"""What a DIFFERENCE frame stores: new bytes as differences from their delta base, column by column.

zstd with the delta base as prefix copies what is the same. Compiled code whose addresses moved is nowhere the same for
long. Differences say where it is *nearly* the same and what to add to the bytes that changed: small numbers that recur.
docs/formats/packed-corpus.md describes the columns.
"""

from __future__ import annotations

import zstandard

from reducto import bounded, varint
from reducto.errors import Corrupt
from reducto.kernel.difference import ADDED, COLUMNS, LITERALS, NEAR, DifferenceReader, difference_columns

#: Plain bytes of the longest DIFFERENCE frame: its columns are held in memory while it is read.
DIFFERENCE_LIMIT_BYTES = 16 << 20
# The columns together hold at most twice the plain bytes and this.
_COLUMNS_SLACK_BYTES = 64
# The literals column holds bytes that are really new. zstd's optimal parser with short matches makes it 10 % shorter as
# a rule, in eight times the time, and much shorter at times. So below level 12 a sample of 64 KiB decides: the optimal
# parser is used if it makes the sample at least 15 % shorter.
_OPTIMAL_LEVEL = 12
_OPTIMAL_PAYS = 0.85
_SAMPLE_BYTES = 64 << 10
_LITERALS_LEVEL = 16
# A difference is taken without trying a delta if less than a sixth of the data changed, less than two fifths are
# literals, and differences are 64 bytes apart on average: a delta is then seldom shorter. Up to 256 KiB both are tried,
# because that takes milliseconds.
_FEW_CHANGES = 1 / 6
_FEW_LITERALS = 2 / 5
_LONG_AVERAGE_BYTES = 64
_SHORT_BYTES = 256 << 10


def compress_difference(data: bytes | memoryview, base: bytes | memoryview, level: int) -> tuple[bytes, bool] | None:
    """``data`` as differences from ``base``, and whether a delta need not be tried; None if the two are unlike."""
    columns = difference_columns(base, data)
    if columns is None or sum(map(len, columns)) > _columns_limit(len(data)):
        return None
    packed = [zstandard.ZstdCompressor(level=level).compress(column) for column in columns[:LITERALS]]
    packed.append(_compress_literals(columns[LITERALS], level))
    head = bytearray()
    varint.put_numbers(head, *map(len, packed))
    stored = bytes(head) + b"".join(packed)
    few = len(columns[ADDED]) < _FEW_CHANGES * len(data) and len(columns[LITERALS]) < _FEW_LITERALS * len(data)
    long = _LONG_AVERAGE_BYTES * len(columns[NEAR]) < len(data)  # the column has one or two bytes per difference
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


def open_difference(stored: bytes | memoryview, base: bytes | memoryview, plain_length: int) -> DifferenceReader:
    """A reader of what `compress_difference` made. Raises `Corrupt`."""
    numbers = varint.NumberReader(stored, "a frame of a packed corpus")
    lengths = [numbers.take() for _ in range(COLUMNS)]
    left, columns = _columns_limit(plain_length), []
    for length in lengths:
        column = bounded.decompress(numbers.take_bytes(length), left, "a frame of a packed corpus")
        left -= len(column)
        columns.append(column)
    if numbers.at != len(stored):
        raise Corrupt("a frame of a packed corpus is longer than its columns")
    return DifferenceReader(columns, base)
