"""Trains the zstd dictionary of a corpus from the beginnings of its chunks.

New bytes that are only a few kilobytes long compress better with it, because so little data contains few repeats.
"""

from __future__ import annotations

import zstandard

#: The zstd program's default size. A larger dictionary takes longer to load for each small frame than it saves.
DICTIONARY_BYTES = 112_640
SAMPLES_LIMIT_BYTES = 8 << 20
_SAMPLE_BYTES = 4096
_LEAST_SAMPLES = 200


class DictionaryTrainer:
    """Takes samples of the chunks that are kept, and trains a dictionary from up to 8 MiB of them.

    A chunk's fingerprint decides whether it is a sample, so equal content gives an equal dictionary.
    """

    def __init__(self, expected_bytes: int) -> None:
        self._step = max(1, expected_bytes // SAMPLES_LIMIT_BYTES)
        self._samples: list[bytes | bytearray | memoryview] = []
        self._length = 0

    def offer(self, fingerprint: int, data: memoryview) -> None:
        """Takes a sample of a chunk that is kept, if its fingerprint is one of those that are sampled."""
        if fingerprint % self._step == 0 and self._length < SAMPLES_LIMIT_BYTES:
            sample = bytes(data[:_SAMPLE_BYTES])
            self._samples.append(sample)
            self._length += len(sample)

    def train(self) -> bytes:
        """The dictionary. It is empty if there are fewer than 200 samples or if they have nothing in common."""
        if len(self._samples) < _LEAST_SAMPLES:
            return b""
        size = min(DICTIONARY_BYTES, self._length // 10)
        try:
            # With fixed k and d (segment and match length) zstd does not search for the best ones, and the result
            # is the same on every machine.
            return bytes(zstandard.train_dictionary(size, self._samples, k=512, d=8).as_bytes())
        except zstandard.ZstdError:  # zstd raises when all samples are alike and when they have nothing in common.
            return b""
