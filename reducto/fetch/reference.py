"""Names of things in registries: ``host[:port]/repository[:tag][@digest]``, parsed once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from reducto.errors import UsageError
from reducto.values import Digest

_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository of a registry, with a tag or digest (distribution-spec, "Pulling manifests")."""

    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference that ``text`` spells, as docker reads it: a first part without dot, colon or being
        ``localhost`` is a Docker Hub repository. ``oci://`` in front is left out. Raises `UsageError`.
        """
        rest, at, digest = text.removeprefix("oci://").partition("@")
        first, slash, after = rest.partition("/")
        if slash and (set(first) & set(".:") or first == "localhost"):
            host, rest = first, after
        else:
            host = _DOCKER_HUB
        path, colon, tag = rest.partition(":")
        if host in (_DOCKER_HUB, "docker.io", "index.docker.io"):
            host, path = _DOCKER_HUB, path if "/" in path else f"library/{path}"
        valid = _HOST.fullmatch(host) and _REPOSITORY.fullmatch(path) and (not colon or _TAG.fullmatch(tag))
        if not valid or len(path) > 255:
            raise UsageError(f"{text!r} is not an image reference (host/repository[:tag][@digest])")
        parsed = Digest.parse(digest) if at else None
        return cls(host, path, tag or (None if parsed else "latest"), parsed)

    @property
    def manifest(self) -> str:
        """What names the manifest: the digest if there is one, else the tag."""
        return str(self.digest) if self.digest else str(self.tag)

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")
