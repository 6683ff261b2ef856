"""The older blobs whose tokens one decoder may reuse: the most useful one is asked, and all are closed together."""

from __future__ import annotations

import threading
from typing import Protocol

from reducto.gzip import Donor


class Closeable(Protocol):
    """An object that holds something until it is closed."""

    def close(self) -> None:
        """Drops everything that it holds. Idempotent."""


class DonorList:
    """Donors in the order in which each was found to be of more use than the one before it. Thread-safe."""

    def __init__(self) -> None:
        self._donors: list[Donor] = []
        self._owned: list[Closeable] = []
        self._closed = False
        self._lock = threading.Lock()

    def own(self, decoder: Closeable) -> bool:
        """Takes ``decoder`` over, to close it in `close`. If this list is closed already, closes it now: False."""
        with self._lock:
            if not self._closed:
                self._owned.append(decoder)
                return True
        decoder.close()
        return False

    def offer(self, donor: Donor) -> None:
        """Uses ``donor`` from now on if it has precomputed token deltas or more aligned bytes than the present one."""
        with self._lock:
            better = donor.is_precomputed or donor.aligned_bytes > self.aligned_bytes
            if better and not self._closed:
                self._donors.append(donor)

    @property
    def best(self) -> Donor | None:
        """The donor that is used now."""
        donors = self._donors
        return donors[-1] if donors else None

    @property
    def aligned_bytes(self) -> int:
        """Plain bytes of the newer blob that are aligned with those of the donor that is used now."""
        best = self.best
        return best.aligned_bytes if best is not None else 0

    @property
    def reused_bytes(self) -> int:
        """Plain bytes rebuilt with a donor's tokens. Bytes that two segments need are counted twice."""
        return sum(each.reused_bytes for each in self._donors)

    @property
    def precomputed_bytes(self) -> int:
        """Plain bytes among `reused_bytes` that a token delta described, so that no match was searched for them."""
        return sum(each.precomputed_bytes for each in self._donors)

    def close(self) -> None:
        """Closes every decoder that was taken over. Idempotent."""
        with self._lock:
            owned, self._owned, self._closed = self._owned, [], True
            # The donors map the older wire bytes; dropping them here unmaps these now instead of with the decoder.
            self._donors = []
        for decoder in owned:
            decoder.close()
