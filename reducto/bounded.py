"""Decompression whose outcome is bounded before it begins."""

from __future__ import annotations

import zstandard

from reducto.errors import Corrupt


def decompress(packed: bytes | memoryview, limit_bytes: int, what: str) -> bytes:
    """The content of one zstd frame that states its length, as all that Reducto writes do. Raises `Corrupt`.

    The limit is held against the stated length: `zstandard` takes that for the size of its buffer, and looks at a
    limit of its caller's only where the frame states none.
    """
    try:
        length = zstandard.frame_content_size(packed)
        if not 0 <= length <= limit_bytes:
            raise Corrupt(f"{what}: states no acceptable length (at most {limit_bytes} bytes)")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=length)
    except zstandard.ZstdError as error:
        raise Corrupt(f"{what}: does not decompress ({error})") from error
