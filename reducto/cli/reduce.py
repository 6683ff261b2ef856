"""Encoding a whole input against corpora: what ``compress``, ``analyze`` and ``benchmark`` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from reducto.cli.context import Context
from reducto.cli.inputs import Input
from reducto.codec import BlobEncoder, EncodeOptions, FixedSelector, Reduced
from reducto.corpus.reader import Corpus
from reducto.errors import UsageError
from reducto.kernel.chunking import ChunkParams
from reducto.values import Reason, Stored
from reducto.workers import Submit

LEVEL_HELP = "zstd level of the bytes that no corpus holds (default: compression.compression_level)"


def encode_options(context: Context, level: int | None = None) -> EncodeOptions:
    """The options for encoding a file, from the configuration and ``level``, which overrides the configured level.

    The gate is off and no gain is too small, because the user asked for an output file and must get one.
    """
    compression, gate = context.config.compression, context.config.gate
    return EncodeOptions(
        chunking=ChunkParams(int(compression.chunk_size)),
        compression_level=level or compression.compression_level,
        sample_bytes=int(gate.sample_size),
        minimum_score=gate.min_score,
        gate=False,
        minimum_gain=float("-inf"),
        compression_threads=compression.workers,
    )


class Readable(Protocol):
    """An input of `encode` that can be read more than once, such as `Input`."""

    @property
    def name(self) -> str:
        """The name that messages show."""

    def pieces(self) -> Iterator[memoryview | bytes]:
        """All bytes in order, from the beginning at each call. A piece is valid until the next one is asked for."""


def encode(
    source: Readable,
    corpora: Sequence[Corpus],
    options: EncodeOptions,
    spool: Path,
    submit: Submit,
    advance: Callable[[int], None],
) -> tuple[BlobEncoder, Reduced]:
    """Encodes all of ``source`` and returns the encoder, which the caller closes, and the result.

    A gzip file whose encoder is not known is read a second time and encoded without decompressing it.
    Raises `UsageError` if the source is empty or cannot be encoded.
    """
    refused = Stored(Reason.FAILED)
    for decompress in (True, False):
        encoder = BlobEncoder(FixedSelector(corpora), spool, options, submit, decompress=decompress)
        try:
            for piece in source.pieces(encoder.write_buffer) if isinstance(source, Input) else source.pieces():
                encoder.feed(piece)
                advance(len(piece))
            result = encoder.finish()
        except BaseException:
            encoder.close()
            raise
        if isinstance(result, Reduced):
            return encoder, result
        encoder.close()
        if result.reason is Reason.TOO_SMALL:
            raise UsageError(f"{source.name} holds nothing to compress")
        refused = result
    raise UsageError(f"{source.name}: {refused.reason}: {refused.detail}")
