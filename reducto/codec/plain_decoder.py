"""The plain bytes of one blob, at any offset, out of its instructions and the corpora that they name."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping

from reducto.codec.instructions import Instructions
from reducto.codec.unpacked import ReadableCorpus, UnpackedCorpus, ensure_touched
from reducto.errors import CorpusMissing, Corrupt
from reducto.kernel.buffers import uncleared
from reducto.kernel.matching import Plan, ReferenceTable
from reducto.values import CorpusId


class PlainDecoder:
    """Reads the plain bytes that instructions describe; a `reducto.container.PlainReader`. Thread-safe.

    ``corpora`` may be filled later, as long as a corpus is there when its bytes are wanted. Raises `Corrupt` for
    instructions that contradict themselves.
    """

    def __init__(
        self,
        instructions: Instructions,
        corpora: Mapping[CorpusId, ReadableCorpus],
        spool_dir: str | os.PathLike[str] | None,
    ) -> None:
        meta = instructions.meta
        self._identities = meta.corpora
        self._corpora = corpora
        self._plan = Plan(instructions.operations)
        if self._plan.plain_length != meta.plain_length:
            raise Corrupt("instructions: the operations do not yield the stated plain length")
        self.embedded: UnpackedCorpus | None = None
        """The corpus that the instructions carry inside, if they carry one."""
        if instructions.packed is not None:
            self.embedded = UnpackedCorpus(instructions.packed, corpora, spool_dir or tempfile.gettempdir())
            if self.embedded.id != meta.corpora[0]:
                self.embedded.close()
                raise Corrupt("instructions: the embedded corpus is another one than they name")
        self._lock = threading.Lock()
        self._table: ReferenceTable | None = None
        self._sources: list[ReadableCorpus | None] = []

    @property
    def needs(self) -> tuple[CorpusId, ...]:
        """The corpora that must be given: those that are named and not embedded, and the embedded one's parents."""
        own = self._identities[0]
        named = [c for c in self._identities[1:] if c is not None]
        if self.embedded is not None:
            named += self.embedded.table.parents
        elif own is not None:
            named.append(own)
        return tuple(dict.fromkeys(named))

    def read_into(self, plain_offset: int, out: memoryview | bytearray) -> None:
        """Fills ``out`` with plain bytes from ``plain_offset``. Raises `Corrupt`, `SegmentCorrupt`, `CorpusMissing`."""
        self.copy_verified(self.verify(plain_offset, len(out)), plain_offset, out)

    def read(self, plain_offset: int, length: int) -> memoryview:
        """``length`` plain bytes from ``plain_offset`` in a buffer of their own. Raises as `read_into`."""
        out = uncleared(length)
        self.read_into(plain_offset, out)
        return out

    def verify(self, plain_offset: int, length: int) -> ReferenceTable:
        """Verifies the corpus segments that these plain bytes come from; `copy_verified` takes what it returns.

        Raises as `read_into`.
        """
        table, sources = self._resolve()
        for number, source in enumerate(sources):
            if source is not None:
                ensure_touched(source, number, self._plan, plain_offset, length)
        return table

    def copy_verified(self, table: ReferenceTable, plain_offset: int, out: memoryview | bytearray) -> None:
        """Fills ``out`` with plain bytes from ``plain_offset``, which `verify` was called for. Raises `Corrupt`."""
        self._plan.execute(table, plain_offset, out)

    def close(self) -> None:
        """Drops the embedded corpus's temporary file. Idempotent."""
        if self.embedded is not None:
            self.embedded.close()

    def _resolve(self) -> tuple[ReferenceTable, list[ReadableCorpus | None]]:
        """The references by number. They are looked up when the first byte is wanted."""
        with self._lock:
            if self._table is None:
                table, sources = ReferenceTable(), [self._own_corpus()]
                if sources[0] is not None:
                    table.set_own(sources[0].plain, sources[0].plain_length)
                for corpus in self._identities[1:]:
                    source = self._given(corpus)
                    table.add(source.plain)
                    sources.append(source)
                self._table, self._sources = table, sources
            return self._table, self._sources

    def _own_corpus(self) -> ReadableCorpus | None:
        """The corpus of the blob's own new bytes, or None if it has none."""
        own = self._identities[0]
        return self.embedded if self.embedded is not None or own is None else self._given(own)

    def _given(self, corpus: CorpusId | None) -> ReadableCorpus:
        source = self._corpora.get(corpus) if corpus is not None else None
        if source is None:
            raise CorpusMissing(str(corpus))
        return source
