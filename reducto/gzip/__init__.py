"""gzip blobs rebuilt bit for bit: the framing side of the codec (see ``reducto.recipe``).

`open_unframer` reads a blob, whatever it is; `recipe_from_bytes` reads a serialised recipe of either kind.
"""

from __future__ import annotations

from reducto.errors import Corrupt
from reducto.gzip.analysis import Identification, identify
from reducto.gzip.framing import MAGIC
from reducto.gzip.identity import IdentityRecipe, IdentityUnframer
from reducto.gzip.limits import UnframeLimits
from reducto.gzip.precedent import Precedent
from reducto.gzip.recipe import KIND, GzipRecipe
from reducto.gzip.token_delta import TOKEN_DELTA_LIMIT_BYTES, TokenDelta, make_token_delta
from reducto.gzip.unframe import GzipUnframer
from reducto.recipe import Recipe, Submit, Unframer

__all__ = [
    "TOKEN_DELTA_LIMIT_BYTES",
    "GzipRecipe",
    "GzipUnframer",
    "Identification",
    "IdentityRecipe",
    "Precedent",
    "TokenDelta",
    "UnframeLimits",
    "identify",
    "make_token_delta",
    "open_unframer",
    "recipe_from_bytes",
]


def open_unframer(head: bytes, submit: Submit | None = None, limits: UnframeLimits | None = None) -> Unframer:
    """The unframer for a blob that begins with ``head`` (at least 3 bytes unless the blob is shorter; feed them too).

    gzip gets a `GzipUnframer`; everything else, zstd included, is its own plain bytes. With ``submit`` segments are
    planned on workers while `feed` reads on; at most ``limits.segments_in_flight`` tasks at once.
    """
    limits = limits or UnframeLimits()
    if head[: len(MAGIC)] == MAGIC:
        return GzipUnframer(limits, submit)
    return IdentityUnframer(limits.plain_limit_bytes)


def recipe_from_bytes(data: bytes) -> Recipe:
    """Reads what any recipe's ``to_bytes`` wrote. Raises `Corrupt`."""
    if data[:1] == bytes([KIND]):
        return GzipRecipe.from_bytes(data)
    if data[:1] == bytes([IdentityRecipe.KIND]):
        return IdentityRecipe.from_bytes(data)
    raise Corrupt("recipe: unknown kind")
