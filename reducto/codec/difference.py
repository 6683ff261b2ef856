"""What a DIFFERENCE frame stores: new bytes as differences from their twins, column by column.

zstd with the twins as prefix copies what is the same; compiled code whose addresses moved is nowhere the same for long.
Differences say where it is *nearly* the same and what to add to the bytes that changed: small numbers that recur.
docs/formats/packed-corpus.md describes the columns.
"""

from __future__ import annotations

import zstandard

from reducto import bounded, varint
from reducto.errors import Corrupt
from reducto.kernel.difference import ADDED, COLUMNS, LITERALS, DifferenceReader, difference_columns

#: Plain bytes of the longest DIFFERENCE frame: its columns are held in memory while it is read.
DIFFERENCE_LIMIT_BYTES = 16 << 20
# Columns hold no more than twice the plain bytes, and this.
_COLUMNS_SLACK_BYTES = 64
# Literals are code that is really new: an optimal parse pays there, and hardly in the other columns.
_LITERALS_LEVEL = 16
# Where no more than this of the bytes changed or is literals, a delta with the twins as prefix is seldom shorter, and
# never by much.
_FEW_CHANGES = 1 / 6
_FEW_LITERALS = 1 / 4
_SHORT_BYTES = 256 << 10


def compress_difference(data: bytes | memoryview, twins: bytes | bytearray, level: int) -> tuple[bytes, bool] | None:
    """``data`` as differences from ``twins``, and whether that will do; None if they are unlike."""
    columns = difference_columns(twins, data)
    if columns is None or sum(map(len, columns)) > _columns_limit(len(data)):
        return None
    packed = [zstandard.ZstdCompressor(level=level).compress(column) for column in columns[:LITERALS]]
    literals = zstandard.ZstdCompressor(compression_params=_literal_parameters(level, len(columns[LITERALS])))
    packed.append(literals.compress(columns[LITERALS]))
    head = bytearray()
    varint.put(head, *map(len, packed))
    stored = bytes(head) + b"".join(packed)
    few = len(columns[ADDED]) < _FEW_CHANGES * len(data) and len(columns[LITERALS]) < _FEW_LITERALS * len(data)
    return stored, few and len(data) > _SHORT_BYTES


def _literal_parameters(level: int, length: int) -> zstandard.ZstdCompressionParameters:
    if level >= _LITERALS_LEVEL:
        return zstandard.ZstdCompressionParameters.from_level(level, source_size=length)
    return zstandard.ZstdCompressionParameters.from_level(
        _LITERALS_LEVEL, source_size=length, strategy=zstandard.STRATEGY_BTOPT, search_log=2, min_match=3
    )


def _columns_limit(plain_length: int) -> int:
    return 2 * plain_length + _COLUMNS_SLACK_BYTES


def open_difference(stored: bytes | memoryview, twins: bytes | bytearray, plain_length: int) -> DifferenceReader:
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
