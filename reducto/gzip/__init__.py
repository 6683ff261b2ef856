"""Reads gzip blobs and rebuilds them bit for bit: the containers of `reducto.container`.

`open_container` reads a blob, whatever it is; `recipe_from_bytes` reads a serialised recipe of either kind.
"""

from __future__ import annotations

from reducto.container import ContainerReader, Recipe
from reducto.errors import Corrupt
from reducto.gzip.container_limits import ContainerLimits
from reducto.gzip.donor import Donor
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
    "Donor",
    "GzipReader",
    "GzipRecipe",
    "Identification",
    "RawRecipe",
    "TokenDelta",
    "identify",
    "make_token_delta",
    "open_container",
    "recipe_from_bytes",
]


def open_container(head: bytes, submit: Submit | None = None, limits: ContainerLimits | None = None) -> ContainerReader:
    """The reader for a blob that begins with ``head``, which must also be fed to it.

    ``head`` has at least 3 bytes unless the blob is shorter. A gzip blob gets a `GzipReader`; every other one, zstd
    included, is its own plain bytes. With ``submit`` segments are planned on workers while `feed` reads on, in at most
    ``limits.segments_in_flight`` tasks at once.
    """
    limits = limits or ContainerLimits()
    if head[: len(MAGIC)] == MAGIC:
        return GzipReader(limits, submit)
    return RawReader(limits.plain_limit_bytes)


def recipe_from_bytes(data: bytes) -> Recipe:
    """The recipe that any recipe's ``to_bytes`` wrote. Raises `Corrupt`."""
    if data[:1] == bytes([KIND]):
        return GzipRecipe.from_bytes(data)
    if data[:1] == bytes([RawRecipe.KIND]):
        return RawRecipe.from_bytes(data)
    raise Corrupt("recipe: unknown kind")
