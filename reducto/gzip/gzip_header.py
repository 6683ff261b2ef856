"""gzip member headers (RFC 1952 2.3)."""

from __future__ import annotations

MAGIC = b"\x1f\x8b\x08"
TRAILER_BYTES = 8

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0


class BadHeader(ValueError):
    """The bytes are no gzip member header."""


def header_length(data: bytes | bytearray | memoryview) -> int | None:
    """Length of the member header that ``data`` begins with; None if more bytes are needed. Raises `BadHeader`."""
    data = bytes(data[: 1 << 17])
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
