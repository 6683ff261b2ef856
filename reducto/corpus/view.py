"""What the codec needs of a corpus that it copies from, mapped or unpacked piece by piece."""

from __future__ import annotations

from typing import Protocol

from reducto.values import CorpusId


class CorpusView(Protocol):
    """Verified random access to the plain bytes of one corpus. Thread-safe."""

    @property
    def id(self) -> CorpusId:
        """The identity that instructions name."""

    @property
    def plain_length(self) -> int:
        """How many plain bytes there are."""

    def view(self, plain_offset: int, length: int) -> memoryview:
        """Exactly ``length`` verified bytes from ``plain_offset``.

        Raises `Corrupt` if the range leaves the corpus, `SegmentCorrupt` if its bytes are damaged.
        """
