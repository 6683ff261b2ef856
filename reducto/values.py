"""The vocabulary: small immutable values that are checked once, where they enter."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, NewType, Self

from reducto.errors import UsageError

#: 64-bit fingerprint of one content-defined chunk. Never a `Digest`: it finds candidates, it proves nothing.
ChunkId = NewType("ChunkId", int)

#: BLAKE3 root (64 hex digits) of a corpus's plain content; instructions name corpora by it.
CorpusId = NewType("CorpusId", str)

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_CORPUS_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An OCI content digest, ``sha256:<64 hex>`` or ``sha512:<128 hex>`` (image-spec, descriptor.md)."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The digest that ``text`` spells. Raises `UsageError` for anything else."""
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise UsageError(f"{text[:160]!r} is not a digest of the form sha256:<64 hex> or sha512:<128 hex>")
        return cls(match[1] or match[3], match[2] or match[4])

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: str = "sha256") -> Self:
        """The digest of ``data``."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def hasher(self) -> Any:
        """A fresh hashlib object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def parse_corpus_id(text: str) -> CorpusId:
    """The corpus identity that ``text`` spells: 64 lower-case hex digits. Raises `UsageError`."""
    if _CORPUS_ID.fullmatch(text) is None:
        raise UsageError(f"{text[:80]!r} is not a corpus id (64 lower-case hex digits)")
    return CorpusId(text)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Half-open range of bytes ``[start, stop)``."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise UsageError(f"byte range {self.start}..{self.stop} is not in order")

    def __len__(self) -> int:
        return self.stop - self.start

    def __bool__(self) -> bool:
        return True  # an empty range is still a range: `wire or default` must not replace it


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An OCI content descriptor (image-spec, descriptor.md). ``size`` is in bytes, as the specification names it."""

    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The descriptor as a JSON object."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return out


class Reason(enum.StrEnum):
    """Why something was stored as it came. The values are part of metrics, receipts and reports."""

    TOO_SMALL = "too-small"
    NO_GAIN = "no-gain"
    NO_ENCODER_MODEL = "no-encoder-model"
    RECIPE_TOO_LARGE = "recipe-too-large"
    CORRUPT_GZIP = "corrupt-gzip"
    ZSTD_LAYER = "zstd-layer"
    PLAIN_LIMIT = "plain-limit"
    TIME_LIMIT = "time-limit"
    PROOF_FAILED = "proof-failed"
    FAILED = "failed"
    DISABLED = "disabled"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Stored:
    """The decision to keep bytes as they came: a normal outcome with its reason."""

    reason: Reason
    detail: str = ""
