"""Anchors: offsets at which chunks end whatever the content.

With them the tables follow from the plain bytes alone.

A corpus travels without its tables, which are rebuilt from the plain bytes where it arrives. Chunk boundaries
that do not come from the content have to travel: tar members' starts, and the seams between pieces. Written
as LEB128 numbers, the distance of each from the one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reducto.errors import Corrupt, UsageError

_FLUSH_BYTES = 1 << 20


def encode_anchors(plain_offsets: Iterable[int]) -> Iterator[bytes]:
    """The section in pieces; repeated offsets and offset 0 are left out.

    Raises `UsageError` if not ascending.
    """
    out = bytearray()
    last = 0
    for offset in plain_offsets:
        distance = offset - last
        if distance < 0:
            raise UsageError(f"anchors must ascend: {offset} follows {last}")
        if distance == 0:
            continue
        last = offset
        while distance > 0x7F:
            out.append(distance & 0x7F | 0x80)
            distance >>= 7
        out.append(distance)
        if len(out) >= _FLUSH_BYTES:
            yield bytes(out)
            out.clear()
    yield bytes(out)


def decode_anchors(section: bytes | memoryview, plain_length: int) -> Iterator[int]:
    """The offsets in ``section``. Raises `Corrupt`."""
    last = distance = shift = 0
    for byte in section:
        distance |= (byte & 0x7F) << shift
        shift += 7
        if byte & 0x80:
            if shift > 63:
                raise Corrupt("corpus anchors: a number is too long")
            continue
        last += distance
        if not distance or last > plain_length:
            raise Corrupt("corpus anchors: an offset is out of place")
        yield last
        distance = shift = 0
    if shift:
        raise Corrupt("corpus anchors: cut off")
