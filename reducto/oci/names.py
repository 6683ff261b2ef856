"""Names in the registry API, parsed once where they enter; inside, only these values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from reducto.errors import UsageError
from reducto.values import Digest

REPOSITORY_LIMIT_CHARS = 255  # distribution's own limit for a name with its host; longer ones cannot be pulled

# distribution-spec, "Pulling manifests": <name>. Separators and alphanumerics are disjoint, so matching is linear.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
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

    def __str__(self) -> str:
        return self.name


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """The tag or digest that ``text`` spells: what has a colon is a digest. Raises `UsageError`."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)
