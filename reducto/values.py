"""Small immutable values that everything else uses. Each is checked once, where it enters."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, NewType, Self

from reducto.errors import UsageError

#: The 64-bit fingerprint of one content-defined chunk. It finds candidates and proves nothing, unlike a `Digest`.
ChunkId = NewType("ChunkId", int)

#: The BLAKE3 hash (64 hex digits) over a corpus's plain content. Instructions name corpora by it.
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
        """A new hashlib object of this digest's algorithm."""
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
    """The bytes from ``start`` up to and without ``stop``. Raises `UsageError` unless 0 <= start <= stop."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise UsageError(f"byte range {self.start}..{self.stop} is not in order")

    def __len__(self) -> int:
        return self.stop - self.start

    def __bool__(self) -> bool:
        # An empty range is a range, too: `wire or default` must not replace it.
        return True


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
    PLAIN_LIMIT = "plain-limit"
    TIME_LIMIT = "time-limit"
    FAILED = "failed"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Stored:
    """The decision to keep bytes as they came, with its reason. It is a normal outcome and no error."""

    reason: Reason
    detail: str = ""
