"""Decompression whose result is bounded before it begins."""

from __future__ import annotations

import zstandard

from reducto.errors import Corrupt


def decompress(packed: bytes | memoryview, limit_bytes: int, what: str) -> bytes:
    """The content of one zstd frame that states its length, as all frames that Reducto writes do.

    Raises `Corrupt`, whose message names ``what`` it is. The limit is compared with the stated length, because
    `zstandard` allocates that length, and applies a caller's limit only to a frame that states none.
    """
    try:
        length = zstandard.frame_content_size(packed)
        if not 0 <= length <= limit_bytes:
            raise Corrupt(f"{what}: states no acceptable length (at most {limit_bytes} bytes)")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=length)
    except zstandard.ZstdError as error:
        raise Corrupt(f"{what}: does not decompress ({error})") from error
