"""Errors of the library. Damage and misuse are exceptions; an expected refusal is a value (`reducto.values.Stored`).

Every message says what is wrong and, if something can be done about it, what to do.
"""

from __future__ import annotations


class ReductoError(Exception):
    """The base of all errors that Reducto raises on purpose. The command line exits with ``exit_code``."""

    exit_code = 1


class UsageError(ReductoError):
    """The caller's arguments or configuration cannot be carried out."""

    exit_code = 2


class NotReducto(ReductoError):
    """The bytes are not in the format that was asked for (wrong magic or unknown version)."""

    exit_code = 3


class Corrupt(ReductoError):
    """The bytes are in the right format, but damaged, truncated or forged."""

    exit_code = 4


class SegmentCorrupt(Corrupt):
    """A corpus segment does not have the hash that its manifest states."""

    def __init__(self, corpus: str, index: int) -> None:
        super().__init__(f"corpus {corpus}: segment {index} does not match its BLAKE3 hash; fetch the corpus again")
        self.corpus = corpus
        self.index = index


class Untrusted(ReductoError):
    """A signature is missing or wrong, or was made by a key that is not trusted."""

    exit_code = 5


class CorpusMissing(ReductoError):
    """The instructions refer to a corpus that was not given."""

    exit_code = 6

    def __init__(self, corpus_id: str) -> None:
        super().__init__(f"corpus {corpus_id} is needed and was not given; pass it with --corpus")
        self.corpus_id = corpus_id


class LimitExceeded(ReductoError):
    """An input reaches a stated limit; the message names the limit and its value."""

    exit_code = 7


class KeyUnavailable(ReductoError):
    """Encrypted data needs a key that was not given, or the key is the wrong one."""

    exit_code = 8


class ProofFailed(ReductoError):
    """What was rebuilt differs from the original: nothing of it may be kept. It is always a bug or broken hardware."""

    exit_code = 9
