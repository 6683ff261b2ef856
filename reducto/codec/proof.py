"""Proves, window by window, that operations yield the plain bytes which they were made from."""

from __future__ import annotations

from collections.abc import Sequence

from blake3 import blake3

from reducto.codec.new_bytes import NewBytesSpool
from reducto.codec.references import ReferenceCorpus
from reducto.codec.unpacked import ensure_touched
from reducto.errors import ProofFailed
from reducto.kernel.matching import Operations, Plan, ReferenceTable

#: Plain bytes compared and then hashed at a time: 128 KiB are still in a core's own cache when they are hashed.
_PIECE_BYTES = 128 << 10


class OperationsProof:
    """Compares the bytes that operations copy from verified corpora with the plain bytes, and hashes these.

    Not thread-safe.
    """

    def __init__(self, table: ReferenceTable, references: Sequence[ReferenceCorpus], new_bytes: NewBytesSpool) -> None:
        self._table = table
        self._references = references
        self._new = new_bytes
        self._hasher = blake3()

    def check(self, operations: Operations, plain: memoryview, new_length: int) -> None:
        """Proves that ``operations`` yield ``plain``, the blob's next bytes.

        The blob has ``new_length`` new bytes so far, with those that these operations copy. Raises `ProofFailed`,
        `SegmentCorrupt`.
        """
        plan = Plan(operations)
        for number, reference in enumerate(self._references, 1):
            ensure_touched(reference.corpus, number, plan, 0, len(plain))
        for start in range(0, len(plain), _PIECE_BYTES):
            piece = plain[start : start + _PIECE_BYTES]
            if not plan.yields(self._table, start, piece):
                raise ProofFailed("operations do not rebuild the plain bytes that they were made from")
            self._hasher.update(piece)
        self._new.hash_up_to(new_length)

    @property
    def plain_blake3(self) -> str:
        """The BLAKE3 hash (64 hex digits) of all plain bytes that were proved."""
        return str(self._hasher.hexdigest())
