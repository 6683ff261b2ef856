"""What the sidecar needs of the codec, as types. `sidecar.codec.adapter` fulfils them with `reducto.codec`.

Everything here blocks and is called from workers only. A corpus lies packed in the registry and raw and mapped on
local disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reducto.values import ByteRange, ChunkId, CorpusId, Digest, Stored

#: The first bytes of a packed corpus, which tell how long its head is.
HEAD_BYTES = 64


class LocalCorpus(Protocol):
    """A corpus on local disk, opened and verified."""

    @property
    def id(self) -> CorpusId:
        """What instructions call it."""

    @property
    def plain_length(self) -> int:
        """How many plain bytes it holds."""


class References(Protocol):
    """Where an encoder looks for relatives of what it reads."""

    def select_similar(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[tuple[LocalCorpus, frozenset[CorpusId]]]:
        """At most ``limit`` mapped corpora that hold most of these hooks, best first, each with what must be at hand
        before it can be unpacked from the registry. May wait for the network."""


@dataclass(frozen=True, slots=True)
class NewCorpus:
    """The new bytes of one layer."""

    corpus_id: CorpusId
    packed: Path
    """The corpus as it goes to the registry. Gone when the encoder is closed, unless it was taken away before."""
    plain_length: int
    parents: tuple[CorpusId, ...]
    hooks: tuple[ChunkId, ...]


@dataclass(frozen=True, slots=True)
class Reduction:
    """A blob, reduced and proved."""

    instructions: bytes
    needs: tuple[CorpusId, ...]
    """Corpora that were there before and that rebuilding needs."""
    corpus: NewCorpus | None
    wire_length: int
    plain_length: int
    found_length: int
    """Plain bytes that came from corpora which were there before."""
    receipt: dict[str, Any] = field(default_factory=dict)


class Encoder(Protocol):
    """One blob on its way in. Not thread-safe: calls in order, from any one worker at a time."""

    def feed(self, wire: bytes) -> None:
        """Takes the next bytes."""

    def finish(self, digest: Digest) -> Reduction | Stored:
        """The proved reduction, or why there is none."""

    def close(self) -> None:
        """Removes its files. Idempotent."""


class Decoder(Protocol):
    """Rebuilds one blob."""

    def rebuild(self, wire: ByteRange | None = None) -> Iterator[bytes | memoryview]:
        """The blob's bytes in order, in pieces."""

    @property
    def reused_bytes(self) -> int:
        """Plain bytes that were rebuilt from a donor's tokens."""

    @property
    def precomputed_bytes(self) -> int:
        """Plain bytes among these that a token delta told, so that no match was searched for them."""

    def close(self) -> None:
        """Gives up what it holds. Idempotent."""


class Codec(Protocol):
    """Makes encoders and decoders, and brings corpora onto the local disk."""

    def encoder(self, references: References, spool_dir: Path) -> Encoder:
        """An encoder for one blob."""

    def decoder(self, instructions: bytes, corpora: Mapping[CorpusId, LocalCorpus], alone: bool = False) -> Decoder:
        """A decoder; ``alone``: it works in the thread that calls it. Raises `CorpusMissing`, `Corrupt`."""

    def reuse_tokens(self, decoder: Decoder, donor: Decoder, wire: Path, token_delta: bytes = b"") -> float:
        """Registers an older blob, the donor, whose deflate tokens may be reused: ``wire`` is its compressed file,
        ``donor`` its decoder. Only the most useful donor is kept; one with a ``token_delta`` always wins.

        Takes ownership of ``donor``, which is closed with ``decoder``. Returns the share (0 to 1) of the newer blob's
        plain bytes that is aligned with the best donor's, or 1 if ``decoder`` is already closed. Raises `Corrupt`,
        `OSError`.
        """

    def can_reuse_tokens(self, decoder: Decoder) -> bool:
        """Whether the blob's encoder is one whose tokens can be taken from a donor. Raises `Corrupt`."""

    def aligned_share(self, decoder: Decoder, donor: Decoder) -> float:
        """The share (0 to 1) of the blob's plain bytes that is aligned with the donor's. Raises `Corrupt`."""

    def token_delta(self, decoder: Decoder, wire: Path, donor: Decoder, donor_wire: Path) -> bytes:
        """The token delta for `reuse_tokens`: which tokens of the donor the newer blob keeps. ``wire`` and
        ``donor_wire`` are the two compressed files. It was proved; empty where it would not help. Raises `Corrupt`,
        `ProofFailed`, `OSError`."""

    def open(self, path: Path, expect: CorpusId) -> LocalCorpus:
        """Maps a corpus. Raises `Corrupt`, `NotReducto`."""

    def lazy(
        self,
        packed: Path,
        expect: CorpusId,
        parents: Mapping[CorpusId, LocalCorpus],
        arrived: Callable[[int], None] | None = None,
    ) -> LocalCorpus:
        """A packed corpus whose bytes are decoded when they are wanted. Raises `Corrupt`, `NotReducto`.

        While the file is still being written, its head (`head_length`) must be there, and ``arrived(n)`` returns when
        its first ``n`` bytes are.
        """

    def head_length(self, packed: Path) -> int:
        """Bytes of the packed corpus that `lazy` reads at once; its first `HEAD_BYTES` are there. Raises as `lazy`."""

    def release(self, corpus: LocalCorpus) -> None:
        """Gives up the temporary file of a corpus from `lazy`; whoever still reads it may go on."""

    def write_mapped(self, corpus: LocalCorpus, into: Path) -> None:
        """Writes the mapped form of a corpus from `lazy`. Raises `Corrupt`."""

    def repack(
        self, packed: Path, into: Path, expect: CorpusId, parents: Mapping[CorpusId, LocalCorpus], level: int
    ) -> None:
        """Packs a corpus again at a zstd level, proved. Its identity stays. Raises `Corrupt`, `ProofFailed`."""

    def count_hooks(self, corpus: LocalCorpus, hooks: Sequence[ChunkId]) -> int:
        """How many of the hooks the corpus holds."""
