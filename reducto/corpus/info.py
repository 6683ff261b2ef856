"""The name and the annotations of a corpus. They are signed with the rest, and are no part of its identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from reducto.errors import Corrupt, UsageError

INFO_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CorpusInfo:
    """A corpus's name, which may be empty, and annotations such as its origin or the number of a part."""

    name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical JSON. Raises `UsageError` beyond `INFO_LIMIT_BYTES`."""
        document = {"annotations": dict(self.annotations), "name": self.name}
        data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if len(data) > INFO_LIMIT_BYTES:
            raise UsageError(f"corpus annotations take {len(data)} bytes, the limit is {INFO_LIMIT_BYTES}")
        return data

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Self:
        """The info in ``data``. Raises `Corrupt`."""
        if len(data) > INFO_LIMIT_BYTES:
            raise Corrupt(f"corpus info section is longer than {INFO_LIMIT_BYTES} bytes")
        try:
            document = json.loads(bytes(data))
            info = cls(document["name"], document["annotations"])
            texts = [info.name, *info.annotations, *info.annotations.values()]
            if set(document) != {"name", "annotations"} or not all(isinstance(t, str) for t in texts):
                raise ValueError("unexpected fields")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Corrupt(f"corpus info section: {error}") from None
        return info
