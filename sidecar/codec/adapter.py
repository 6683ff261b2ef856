"""Implements `sidecar.codec.interface.Codec` with `reducto.codec` and `reducto.corpus`."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from reducto.codec import (
    BlobDecoder,
    BlobEncoder,
    EncodeOptions,
    ReadableCorpus,
    Reduced,
    ReferenceCorpus,
    UnpackedCorpus,
)
from reducto.codec.frame_reader import LongReaders
from reducto.codec.packed import PackedTable
from reducto.codec.repack import repack
from reducto.config import Config
from reducto.corpus.reader import Corpus
from reducto.errors import Corrupt
from reducto.kernel.chunking import ChunkParams
from reducto.mapped import Mapped
from reducto.values import ByteRange, ChunkId, CorpusId, Digest, Stored
from sidecar.codec.interface import (
    HEAD_BYTES,
    LayerDecoder,
    LayerEncoder,
    LocalCorpus,
    NewCorpus,
    Reduction,
    ReferenceFinder,
)

#: The zstd level for corpora at push. Idle recompression packs them again at the configured, higher level.
PUSH_LEVEL = 3
#: Frames and window have 16 MiB at push, because many layers are pushed at once and each worker keeps one frame.
_PUSH_FRAME_LOG = 24


class ReductoCodec:
    """The codec of `reducto.codec`. It hands parts of its work to other workers by ``submit``, if that is given."""

    def __init__(self, config: Config, submit: Callable[..., object] | None, spool_dir: Path) -> None:
        self._submit = submit
        self._spool_dir = spool_dir
        self._readers = LongReaders()
        self._memory_mapped = config.corpus.memory_mapped
        self.options = EncodeOptions(
            chunking=ChunkParams(config.compression.chunk_size),
            compression_level=PUSH_LEVEL,
            window_log=_PUSH_FRAME_LOG,
            frame_bytes=1 << _PUSH_FRAME_LOG,
            sample_bytes=max(config.gate.sample_size, 1 << 20),
            minimum_score=config.gate.min_score,
            plain_limit_bytes=config.limits.plain_size,
        )

    def encoder(self, references: ReferenceFinder, spool_dir: Path) -> LayerEncoder:
        return _EncoderAdapter(references, spool_dir, self.options, self._submit)

    def decoder(
        self, instructions: bytes, corpora: Mapping[CorpusId, LocalCorpus], single_threaded: bool = False
    ) -> LayerDecoder:
        sources = cast(Mapping[CorpusId, ReadableCorpus], corpora)
        submit = None if single_threaded else self._submit
        return BlobDecoder(instructions, sources, self._spool_dir, submit)  # type: ignore[arg-type]

    def reuse_tokens(self, decoder: LayerDecoder, donor: LayerDecoder, wire: Path, token_delta: bytes = b"") -> float:
        return _inner(decoder).reuse_tokens(_inner(donor), _mapped_bytes(wire), token_delta)

    def can_reuse_tokens(self, decoder: LayerDecoder) -> bool:
        return _inner(decoder).can_reuse_tokens

    def aligned_share(self, decoder: LayerDecoder, donor: LayerDecoder) -> float:
        return _inner(decoder).aligned_share(_inner(donor))

    def token_delta(self, decoder: LayerDecoder, wire: Path, donor: LayerDecoder, donor_wire: Path) -> bytes:
        return _inner(decoder).token_delta(_mapped_bytes(wire), _inner(donor), _mapped_bytes(donor_wire))

    def open(self, path: Path, expect: CorpusId) -> LocalCorpus:
        return Corpus.open(path, expect=expect, memory_mapped=self._memory_mapped)

    def lazy(
        self,
        packed: Path,
        expect: CorpusId,
        parents: Mapping[CorpusId, LocalCorpus],
        arrived: Callable[[int], None] | None = None,
    ) -> LocalCorpus:
        return _unpacked(
            packed, expect, cast(Mapping[CorpusId, ReadableCorpus], parents), self._spool_dir, arrived, self._readers
        )

    def head_length(self, packed: Path) -> int:
        with packed.open("rb") as file:
            return PackedTable.header_length(file.read(HEAD_BYTES))

    def release(self, corpus: LocalCorpus) -> None:
        assert isinstance(corpus, UnpackedCorpus)
        corpus.close()

    def write_mapped(self, corpus: LocalCorpus, into: Path) -> None:
        assert isinstance(corpus, UnpackedCorpus)
        corpus.write_corpus(into)

    def repack(
        self, packed: Path, into: Path, expect: CorpusId, parents: Mapping[CorpusId, LocalCorpus], level: int
    ) -> None:
        sources = cast(Mapping[CorpusId, ReadableCorpus], parents)
        repack(_mapped_bytes(packed), sources, into, self._spool_dir, level)
        # The new file is read back as a whole before any record names it.
        again = _unpacked(into, expect, sources, self._spool_dir)
        try:
            again.ensure([ByteRange(0, again.plain_length)])
        finally:
            again.close()

    def count_hooks(self, corpus: LocalCorpus, hooks: Sequence[ChunkId]) -> int:
        assert isinstance(corpus, Corpus)
        return sum(corpus.hooks.find(hook) is not None for hook in hooks)


class _SelectorAdapter:
    """Gives the library's encoder the corpora that a `ReferenceFinder` found."""

    def __init__(self, references: ReferenceFinder) -> None:
        self._references = references

    def select_similar(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[ReferenceCorpus]:
        """At most ``limit`` corpora that hold most of these hooks, best first."""
        found = []
        for corpus, requires in self._references.select_similar(hooks, limit):
            assert isinstance(corpus, Corpus)
            found.append(ReferenceCorpus(corpus, requires))
        return found


class _EncoderAdapter:
    """Makes the library's `BlobEncoder` a `LayerEncoder`."""

    def __init__(
        self, references: ReferenceFinder, spool_dir: Path, options: EncodeOptions, submit: Callable[..., object] | None
    ) -> None:
        self._inner = BlobEncoder(_SelectorAdapter(references), spool_dir, options, submit)  # type: ignore[arg-type]

    def feed(self, wire: bytes) -> None:
        self._inner.feed(wire)

    def finish(self, digest: Digest) -> Reduction | Stored:
        outcome = self._inner.finish(digest)
        if isinstance(outcome, Stored):
            return outcome
        receipt = outcome.receipt
        return Reduction(
            instructions=outcome.instructions,
            needs=outcome.needs,
            corpus=_new_corpus(outcome),
            wire_length=receipt.wire_bytes,
            plain_length=receipt.plain_bytes,
            found_length=receipt.copied_bytes,
            receipt=receipt.to_json(),
        )

    def close(self) -> None:
        self._inner.close()


def _inner(decoder: LayerDecoder) -> BlobDecoder:
    """The decoder, as the class of which this codec makes decoders."""
    assert isinstance(decoder, BlobDecoder)
    return decoder


def _new_corpus(outcome: Reduced) -> NewCorpus | None:
    """The corpus of the layer's new bytes; None when the instructions carry these inline."""
    table = outcome.table
    if outcome.packed_corpus is None or table is None:
        return None
    return NewCorpus(table.corpus_id, outcome.packed_corpus, table.plain_length, table.parents, outcome.hooks)


def _unpacked(
    path: Path,
    expect: CorpusId,
    sources: Mapping[CorpusId, ReadableCorpus],
    spool_dir: Path,
    arrived: Callable[[int], None] | None = None,
    readers: LongReaders | None = None,
) -> UnpackedCorpus:
    corpus = UnpackedCorpus(_mapped_bytes(path), sources, spool_dir, arrived=arrived, readers=readers)
    if corpus.id != expect:
        raise Corrupt(f"{path.name} holds corpus {corpus.id}, but {expect} was expected")
    return corpus


def _mapped_bytes(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(Mapped(file.fileno(), 0, access=mmap.ACCESS_READ))
