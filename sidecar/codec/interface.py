"""The codec's types as the sidecar uses them. `sidecar.codec.adapter` implements them with `reducto.codec`.

All methods block, so they are called on workers only. A corpus is packed in the registry; on the local disk it is
packed or mapped into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reducto.values import ByteRange, ChunkId, CorpusId, Digest, Stored

#: The length of the first part of a packed corpus. This part says how long the corpus's head is.
HEAD_BYTES = 64


class LocalCorpus(Protocol):
    """A corpus on the local disk, opened and verified."""

    @property
    def id(self) -> CorpusId:
        """The corpus's identity, by which instructions name it."""

    @property
    def plain_length(self) -> int:
        """The number of plain bytes in the corpus."""


class ReferenceFinder(Protocol):
    """Finds similar corpora for an encoder."""

    def select_similar(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[tuple[LocalCorpus, frozenset[CorpusId]]]:
        """At most ``limit`` mapped corpora that hold most of these hooks, best first. May wait for the network.

        Each comes with the identities of the corpora that are needed to unpack it when it is fetched from the
        registry.
        """


@dataclass(frozen=True, slots=True)
class NewCorpus:
    """The corpus of one layer's new bytes."""

    corpus_id: CorpusId
    packed: Path
    """The file that is stored in the registry. Closing the encoder removes it, unless it was moved away before."""
    plain_length: int
    parents: tuple[CorpusId, ...]
    hooks: tuple[ChunkId, ...]


@dataclass(frozen=True, slots=True)
class Reduction:
    """The reduced form of a blob. The blob was rebuilt from it and compared."""

    instructions: bytes
    needs: tuple[CorpusId, ...]
    """The existing corpora that the rebuild needs."""
    corpus: NewCorpus | None
    """The corpus of the blob's new bytes; None when the instructions carry these inline."""
    wire_length: int
    plain_length: int
    found_length: int
    """The number of plain bytes that existing corpora hold."""
    receipt: dict[str, Any] = field(default_factory=dict)
    """What was done to the blob, in figures."""


class LayerEncoder(Protocol):
    """Reduces one blob while it arrives. It is not thread-safe: one worker at a time may call it."""

    def feed(self, wire: bytes) -> None:
        """Takes the next wire bytes."""

    def finish(self, digest: Digest) -> Reduction | Stored:
        """The proved reduction of the whole blob, or the reason why there is none."""

    def close(self) -> None:
        """Removes the encoder's files. Further calls do nothing."""


class LayerDecoder(Protocol):
    """Rebuilds one blob."""

    def rebuild(self, wire: ByteRange | None = None) -> Iterator[bytes | memoryview]:
        """The blob's wire bytes, or the range ``wire`` of them, in order and in pieces."""

    @property
    def wire_length(self) -> int:
        """The blob's length in bytes, as its instructions state it."""

    @property
    def reused_bytes(self) -> int:
        """The number of plain bytes that were rebuilt from a donor's tokens."""

    @property
    def precomputed_bytes(self) -> int:
        """The part of `reused_bytes` that a token delta covers, so that no match was searched for them."""

    def close(self) -> None:
        """Frees memory and files. Further calls do nothing."""


class Codec(Protocol):
    """Makes encoders and decoders, and opens, writes and packs corpora on the local disk."""

    def encoder(self, references: ReferenceFinder, spool_dir: Path) -> LayerEncoder:
        """An encoder for one blob, with its files in ``spool_dir``."""

    def decoder(
        self, instructions: bytes, corpora: Mapping[CorpusId, LocalCorpus], single_threaded: bool = False
    ) -> LayerDecoder:
        """A decoder for one blob. With ``single_threaded`` it works only in the thread that calls it.

        Raises `CorpusMissing`, `Corrupt`.
        """

    def reuse_tokens(self, decoder: LayerDecoder, donor: LayerDecoder, wire: Path, token_delta: bytes = b"") -> float:
        """Registers an older blob, the donor, whose deflate tokens may be reused: ``wire`` is its compressed file,
        ``donor`` its decoder. Only the most useful donor is kept; one with a ``token_delta`` always wins.

        Takes ownership of ``donor``, which is closed with ``decoder``. Returns the share (0 to 1) of the newer blob's
        plain bytes that is aligned with the best donor's, or 1 if ``decoder`` is already closed. Raises `Corrupt`,
        `OSError`.
        """

    def can_reuse_tokens(self, decoder: LayerDecoder) -> bool:
        """Whether the encoder that made the blob is one whose tokens can be reused. Raises `Corrupt`."""

    def aligned_share(self, decoder: LayerDecoder, donor: LayerDecoder) -> float:
        """The share (0 to 1) of the blob's plain bytes that is aligned with the donor's. Raises `Corrupt`."""

    def token_delta(self, decoder: LayerDecoder, wire: Path, donor: LayerDecoder, donor_wire: Path) -> bytes:
        """The token delta for `reuse_tokens`, which lists the tokens of the donor that the newer blob keeps.

        ``wire`` and ``donor_wire`` are the compressed files of the two blobs. The token delta was proved by a rebuild;
        it is empty if it would save nothing. Raises `Corrupt`, `ProofFailed`, `OSError`.
        """

    def open(self, path: Path, expect: CorpusId) -> LocalCorpus:
        """The corpus in a file of the mapped form. Raises `Corrupt`, `NotReducto`."""

    def lazy(
        self,
        packed: Path,
        expect: CorpusId,
        parents: Mapping[CorpusId, LocalCorpus],
        arrived: Callable[[int], None] | None = None,
    ) -> LocalCorpus:
        """The corpus in a file of the packed form. Its bytes are decoded when they are first read.

        The file may still be growing. Then its head (`head_length`) must be complete, and ``arrived(n)`` must return
        as soon as the file has its first ``n`` bytes. Raises `Corrupt`, `NotReducto`.
        """

    def head_length(self, packed: Path) -> int:
        """The length in bytes of a packed corpus's head, which `lazy` reads at once. The file must have at least its
        first `HEAD_BYTES`. Raises as `lazy`."""

    def release(self, corpus: LocalCorpus) -> None:
        """Deletes the temporary file of a corpus from `lazy`. Readers that have the corpus open can go on."""

    def write_mapped(self, corpus: LocalCorpus, into: Path) -> None:
        """Writes the mapped form of a corpus from `lazy`. Raises `Corrupt`."""

    def repack(
        self, packed: Path, into: Path, expect: CorpusId, parents: Mapping[CorpusId, LocalCorpus], level: int
    ) -> None:
        """Packs a corpus again at a zstd ``level`` and proves the new file ``into`` by unpacking it.

        The corpus's identity stays. Raises `Corrupt`, `ProofFailed`.
        """

    def count_hooks(self, corpus: LocalCorpus, hooks: Sequence[ChunkId]) -> int:
        """The number of ``hooks`` that the corpus holds."""
