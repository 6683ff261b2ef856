"""Encoding a whole input against corpora: what ``compress``, ``analyze`` and ``benchmark`` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from reducto.cli.context import Context
from reducto.cli.inputs import Input
from reducto.codec import EncodeOptions, Encoder, FixedReferences, Reduced
from reducto.corpus.reader import Corpus
from reducto.errors import UsageError
from reducto.kernel.chunking import ChunkParams
from reducto.recipe import Submit
from reducto.values import Reason, Stored


def encode_options(context: Context, level: int | None = None) -> EncodeOptions:
    """What the configuration and ``level`` say about encoding a file: always a file comes out of it."""
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
    """What `encode` reads; `Input` is one."""

    @property
    def name(self) -> str:
        """For messages."""

    def pieces(self) -> Iterator[memoryview | bytes]:
        """All bytes in order, as often as it is called; a piece is valid until the next one is asked for."""


def encode(
    source: Readable,
    corpora: Sequence[Corpus],
    options: EncodeOptions,
    spool: Path,
    submit: Submit,
    advance: Callable[[int], None],
) -> tuple[Encoder, Reduced]:
    """Encodes all of ``source``; gzip whose encoder is not known is taken as it is. Close the encoder afterwards."""
    refused = Stored(Reason.FAILED)
    for unframe in (True, False):
        encoder = Encoder(FixedReferences(corpora), spool, options, submit, unframe=unframe)
        try:
            for piece in source.pieces(encoder.room) if isinstance(source, Input) else source.pieces():
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
