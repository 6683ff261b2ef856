"""gzip blobs rebuilt bit for bit: the container side of the codec (see ``reducto.container``).

`open_container` reads a blob, whatever it is; `recipe_from_bytes` reads a serialised recipe of either kind.
"""

from __future__ import annotations

from reducto.container import ContainerReader, Recipe
from reducto.errors import Corrupt
from reducto.gzip.container_limits import ContainerLimits
from reducto.gzip.donor import Precedent
from reducto.gzip.gzip_header import MAGIC
from reducto.gzip.gzip_reader import GzipReader
from reducto.gzip.gzip_recipe import KIND, GzipRecipe
from reducto.gzip.identification import Identification, identify
from reducto.gzip.raw_container import RawReader, RawRecipe
from reducto.gzip.token_delta import TOKEN_DELTA_LIMIT_BYTES, TokenDelta, make_token_delta
from reducto.workers import Submit

__all__ = [
    "TOKEN_DELTA_LIMIT_BYTES",
    "ContainerLimits",
    "GzipReader",
    "GzipRecipe",
    "Identification",
    "Precedent",
    "RawRecipe",
    "TokenDelta",
    "identify",
    "make_token_delta",
    "open_container",
    "recipe_from_bytes",
]


def open_container(head: bytes, submit: Submit | None = None, limits: ContainerLimits | None = None) -> ContainerReader:
    """The unframer for a blob that begins with ``head`` (at least 3 bytes unless the blob is shorter; feed them too).

    gzip gets a `GzipReader`; everything else, zstd included, is its own plain bytes. With ``submit`` segments are
    planned on workers while `feed` reads on; at most ``limits.segments_in_flight`` tasks at once.
    """
    limits = limits or ContainerLimits()
    if head[: len(MAGIC)] == MAGIC:
        return GzipReader(limits, submit)
    return RawReader(limits.plain_limit_bytes)


def recipe_from_bytes(data: bytes) -> Recipe:
    """Reads what any recipe's ``to_bytes`` wrote. Raises `Corrupt`."""
    if data[:1] == bytes([KIND]):
        return GzipRecipe.from_bytes(data)
    if data[:1] == bytes([RawRecipe.KIND]):
        return RawRecipe.from_bytes(data)
    raise Corrupt("recipe: unknown kind")
