"""gzip member headers (RFC 1952 2.3)."""

from __future__ import annotations

#: ID1, ID2 and the method deflate.
MAGIC = b"\x1f\x8b\x08"
#: CRC-32 and length behind the deflate stream.
TRAILER_BYTES = 8
#: Looked at for a header: 128 KiB hold every header that `ContainerLimits` allows.
_HEADER_VIEW_BYTES = 1 << 17

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0


class BadHeader(ValueError):
    """The bytes are not a gzip member header."""


def header_length(data: bytes | bytearray | memoryview) -> int | None:
    """The length of the member header at the front of ``data``; None if more bytes are needed. Raises `BadHeader`."""
    data = bytes(data[:_HEADER_VIEW_BYTES])
    if data[:3] != MAGIC[: len(data)]:
        raise BadHeader("no gzip magic, or a method other than deflate")
    if len(data) < 10:
        return None
    flags, at = data[3], 10
    if flags & _RESERVED:
        raise BadHeader("reserved flag bits are set")
    if flags & _FEXTRA:
        if len(data) < at + 2:
            return None
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (_FNAME, _FCOMMENT):
        if flags & flag:
            end = data.find(b"\0", at)
            if end < 0:
                return None
            at = end + 1
    if flags & _FHCRC:
        at += 2
    return at if at <= len(data) else None
