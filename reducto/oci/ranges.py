"""Byte ranges of requests: ``Range`` when reading (RFC 9110), ``Content-Range`` when uploading in chunks."""

from __future__ import annotations

import re

from reducto.oci.registry_errors import RangeInvalid, RegistryError
from reducto.values import ByteRange

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\*|\d{1,19}))?")


class RangeNotSatisfiable(RegistryError):
    """No byte lies in the range."""

    status, code = 416, "RANGE_INVALID"


def parse_range(header: str | None, length: int) -> ByteRange | None:
    """The bytes of a blob of ``length`` bytes that ``Range: header`` asks for; None means all of them.

    Several ranges, other units and nonsense are ignored, as RFC 9110 14.2 lets a server do. Raises
    `RangeNotSatisfiable` for a range that begins at or after the blob's end, or after its own.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, stop = max(0, length - int(match[2])), length
        satisfiable = int(match[2]) > 0 and length > 0
    else:
        start = int(match[1])
        last = int(match[2]) if match[2] else length - 1
        stop = min(last + 1, length)
        satisfiable = start < length and start <= last
    if not satisfiable:
        raise RangeNotSatisfiable(
            f"{header} is not within {length} bytes", headers={"Content-Range": f"bytes */{length}"}
        )
    return ByteRange(start, stop)


def parse_content_range(header: str) -> ByteRange:
    """The bytes that a chunk says it holds: ``0-1023`` as registries write it, or ``bytes 0-1023/*``."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]) - 1:
        raise RangeInvalid(f"{header[:80]!r} is not a content range")
    return ByteRange(int(match[1]), int(match[2]) + 1)
