"""What an encoder made of a blob."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reducto.codec.instructions import Meta, with_corpus
from reducto.codec.packed import HEADER_BYTES, PackedTable
from reducto.codec.receipt import Receipt
from reducto.values import ChunkId, CorpusId


@dataclass(frozen=True, slots=True)
class Reduced:
    """A proved result. Valid until its encoder is closed."""

    meta: Meta
    instructions: bytes
    """The `.reducto` bytes, with the packed corpus inside if it is small."""
    packed_corpus: Path | None
    """The packed corpus of the new bytes, if it is not inside ``instructions``."""
    corpus_id: CorpusId | None
    """Identity of the new bytes, wherever they lie; None if there are none."""
    needs: tuple[CorpusId, ...]
    """Other corpora that rebuilding needs, parents of the new corpus included."""
    receipt: Receipt
    find_hooks: Callable[[], Sequence[ChunkId]]
    table: PackedTable | None
    """Of the packed corpus."""

    @property
    def hooks(self) -> tuple[ChunkId, ...]:
        """What finds the corpus in ``packed_corpus`` as a reference (`hooks_of`). Reads all new bytes again."""
        return tuple(self.find_hooks())

    def write_file(self, out: BinaryIO) -> None:
        """Writes one self-contained `.reducto` file (other corpora excepted)."""
        if self.packed_corpus is None:
            out.write(self.instructions)
            return
        with self.packed_corpus.open("rb") as packed:
            head = packed.read(HEADER_BYTES)
            out.write(with_corpus(self.instructions, head, self.packed_corpus.stat().st_size))
            out.write(head)
            shutil.copyfileobj(packed, out, 1 << 20)
