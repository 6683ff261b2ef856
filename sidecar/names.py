"""Names in the registry API, parsed once where they enter; inside, only these values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from reducto.errors import UsageError
from reducto.model import Digest

#: Tags that hold Reducto's own records. Never listed, never served, never accepted from a client.
RECORD_TAG_PREFIX = "reducto-"

REPOSITORY_LIMIT_CHARS = 255  # distribution's own limit for a name with its host; longer ones cannot be pulled

# distribution-spec, "Pulling manifests": <name>. Separators and alphanumerics are disjoint, so matching is linear.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository name such as ``team/app``."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The repository that ``text`` names. Raises `UsageError` for anything the specification forbids."""
        if len(text) > REPOSITORY_LIMIT_CHARS or _REPOSITORY.fullmatch(text) is None:
            raise UsageError(f"{text[:80]!r} is not a repository name")
        return cls(text)

    @property
    def namespace(self) -> str:
        """The first path component, or the whole name when there is only one."""
        return self.name.split("/", 1)[0]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag such as ``v1.2``."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The tag that ``text`` names. Raises `UsageError`."""
        if _TAG.fullmatch(text) is None:
            raise UsageError(f"{text[:80]!r} is not a tag")
        return cls(text)

    @property
    def is_record(self) -> bool:
        """Whether the tag belongs to Reducto and is hidden from clients."""
        return self.name.startswith(RECORD_TAG_PREFIX)

    def __str__(self) -> str:
        return self.name


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """The tag or digest that ``text`` spells: what has a colon is a digest. Raises `UsageError`."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


def record_tag(digest: Digest) -> Tag:
    """The hidden tag under which the record of ``digest`` is stored."""
    # A tag has at most 128 characters: a sha512 name (8 + 7 + 128) is cut, and the record itself states the rest.
    return Tag(f"{RECORD_TAG_PREFIX}{digest.algorithm}-{digest.hex}"[:128])
