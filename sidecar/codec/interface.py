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

    def elect(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[tuple[LocalCorpus, frozenset[CorpusId]]]:
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
    def followed_bytes(self) -> int:
        """Plain bytes that were rebuilt with the help of an older blob."""

    @property
    def stated_bytes(self) -> int:
        """Those of them that a token delta told of."""

    def close(self) -> None:
        """Gives up what it holds. Idempotent."""


class Codec(Protocol):
    """Makes encoders and decoders, and brings corpora onto the local disk."""

    def encoder(self, references: References, spool_dir: Path) -> Encoder:
        """An encoder for one blob."""

    def decoder(self, instructions: bytes, corpora: Mapping[CorpusId, LocalCorpus], alone: bool = False) -> Decoder:
        """A decoder; ``alone``: it works in the thread that calls it. Raises `CorpusMissing`, `Corrupt`."""

    def follow(self, decoder: Decoder, older: Decoder, wire: Path, token_delta: bytes = b"") -> float:
        """Lets a decoder rebuild its blob with the help of an older one, which ``wire`` holds and ``older`` decodes,
        unless one that was given before is of more use. ``token_delta`` of the two makes it of most use.

        ``older`` is the decoder's own then, and closed with it. Returns how much of the newer blob's plain bytes, 0 to
        1, runs beside those of the one that helps; 1 once ``decoder`` is closed. Raises `Corrupt`, `OSError`.
        """

    def follows(self, decoder: Decoder) -> bool:
        """Whether a blob's encoder is one that can follow an older blob. Raises `Corrupt`."""

    def beside(self, decoder: Decoder, older: Decoder) -> float:
        """How much of a blob's plain bytes, 0 to 1, runs beside those of an older one that it could follow. Raises
        `Corrupt`."""

    def token_delta(self, decoder: Decoder, wire: Path, older: Decoder, older_wire: Path) -> bytes:
        """What `follow` takes: which tokens of the older blob the newer one keeps, each with its file. Proved; empty
        where it would not help. Raises `Corrupt`, `ProofFailed`, `OSError`."""

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
