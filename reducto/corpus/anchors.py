"""Anchors: plain offsets at which chunks end whatever the content is.

A corpus travels without its tables, which are made again from the plain bytes where it arrives. Chunk boundaries that
do not follow from the content have to travel with it: the starts of tar members, and the seams between pieces. They
are written as LEB128 numbers, each the distance from the anchor before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from reducto.errors import Corrupt, UsageError
from reducto.varint import NumberReader, put_numbers

_FLUSH_BYTES = 1 << 20


def encode_anchors(plain_offsets: Iterable[int]) -> Iterator[bytes]:
    """The anchors section in pieces. Repeated offsets and offset 0 are left out.

    Raises `UsageError` if the offsets do not ascend.
    """
    out = bytearray()
    last = 0
    for offset in plain_offsets:
        if offset < last:
            raise UsageError(f"anchors must ascend: {offset} follows {last}")
        if offset == last:
            continue
        put_numbers(out, offset - last)
        last = offset
        if len(out) >= _FLUSH_BYTES:
            yield bytes(out)
            out.clear()
    yield bytes(out)


def decode_anchors(section: bytes | memoryview, plain_length: int) -> Iterator[int]:
    """The offsets in ``section``, ascending. Raises `Corrupt`."""
    last = 0
    for offset in accumulate(NumberReader(section, "corpus anchors").take_all()):
        if offset == last or offset > plain_length:
            raise Corrupt("corpus anchors: an offset is out of place")
        yield offset
        last = offset
