"""The zstd dictionary of a corpus: what its chunks begin with most often, for residuals too short to have a past."""

from __future__ import annotations

import zstandard

#: zstd's usual size; longer ones cost more to load for each small residual than they save.
DICTIONARY_BYTES = 112_640
SAMPLES_LIMIT_BYTES = 8 << 20
_SAMPLE_BYTES = 4096
_LEAST_SAMPLES = 200


class DictionaryTrainer:
    """Takes every so many-th chunk by its fingerprint, so equal content gives an equal dictionary."""

    def __init__(self, expected_bytes: int) -> None:
        self._step = max(1, expected_bytes // SAMPLES_LIMIT_BYTES)
        self._samples: list[bytes | bytearray | memoryview] = []
        self._length = 0

    def offer(self, fingerprint: int, data: memoryview) -> None:
        """Shows a chunk that is kept."""
        if fingerprint % self._step == 0 and self._length < SAMPLES_LIMIT_BYTES:
            sample = bytes(data[:_SAMPLE_BYTES])
            self._samples.append(sample)
            self._length += len(sample)

    def train(self) -> bytes:
        """The dictionary; empty if there is too little to learn from."""
        if len(self._samples) < _LEAST_SAMPLES:
            return b""
        size = min(DICTIONARY_BYTES, self._length // 10)
        try:
            # Fixed k and d (segment and match length): no search, and the same result everywhere.
            return bytes(zstandard.train_dictionary(size, self._samples, k=512, d=8).as_bytes())
        except zstandard.ZstdError:  # All samples alike, or noise: nothing to learn.
            return b""
