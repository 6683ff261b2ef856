"""The result of encoding a blob."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reducto.codec.instructions import BlobMeta, with_corpus
from reducto.codec.packed import HEADER_BYTES, PackedTable
from reducto.codec.receipt import Receipt
from reducto.values import ChunkId, CorpusId


@dataclass(frozen=True, slots=True)
class Reduced:
    """A proved result. Valid until its encoder is closed."""

    meta: BlobMeta
    instructions: bytes
    """The `.reducto` bytes, with the packed corpus inside if it is small."""
    packed_corpus: Path | None
    """The packed corpus of the new bytes, if it is not inside ``instructions``."""
    needs: tuple[CorpusId, ...]
    """Other corpora that rebuilding needs, parents of the new corpus included."""
    receipt: Receipt
    find_hooks: Callable[[], Sequence[ChunkId]]
    table: PackedTable | None
    """The table of the packed corpus, wherever that is; None if there are no new bytes."""

    @property
    def corpus_id(self) -> CorpusId | None:
        """The identity of the new bytes' corpus; None if there are no new bytes."""
        return self.table.corpus_id if self.table is not None else None

    @property
    def hooks(self) -> tuple[ChunkId, ...]:
        """The hooks by which the corpus in ``packed_corpus`` can be found (`hooks_of`). Reads all new bytes again."""
        return tuple(self.find_hooks())

    def write_file(self, out: BinaryIO) -> None:
        """Writes one `.reducto` file, with the packed corpus inside. Rebuilding still needs the corpora in `needs`."""
        if self.packed_corpus is None:
            out.write(self.instructions)
            return
        with self.packed_corpus.open("rb") as packed:
            head = packed.read(HEADER_BYTES)
            out.write(with_corpus(self.instructions, head, self.packed_corpus.stat().st_size))
            out.write(head)
            shutil.copyfileobj(packed, out, 1 << 20)
