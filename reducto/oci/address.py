"""Names of things in registries as people write them: ``host[:port]/repository[:tag][@digest]``, parsed once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from reducto.errors import UsageError
from reducto.oci.names import Reference, RepositoryName, Tag
from reducto.values import Digest

_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
#: The registry that docker means by a name without a host, and the other names that docker has for it.
DOCKER_HUB = "registry-1.docker.io"
DOCKER_HUB_NAMES = (DOCKER_HUB, "docker.io", "index.docker.io")


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """A repository of a registry, with a tag, a digest or both."""

    host: str
    """The host's name or address, with its port if one is given."""
    repository: RepositoryName
    tag: Tag | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address that ``text`` spells, as docker reads it: a first part without dot and colon that is not
        ``localhost`` belongs to a Docker Hub repository. ``oci://`` in front is left out. Raises `UsageError`.
        """
        rest, at, digest = text.removeprefix("oci://").partition("@")
        first, slash, after = rest.partition("/")
        if slash and (set(first) & set(".:") or first == "localhost"):
            host, rest = first, after
        else:
            host = DOCKER_HUB
        path, colon, tag = rest.partition(":")
        if host in DOCKER_HUB_NAMES:
            host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
        try:
            if _HOST.fullmatch(host) is None:
                raise UsageError(f"{host!r} is not a host")
            repository, name = RepositoryName.parse(path), Tag.parse(tag) if colon else None
        except UsageError as error:
            raise UsageError(f"{text!r} is not an image reference (host/repository[:tag][@digest]): {error}") from None
        parsed = Digest.parse(digest) if at else None
        return cls(host, repository, name or (None if parsed else Tag("latest")), parsed)

    @property
    def reference(self) -> Reference:
        """What names the manifest: the digest if there is one, else the tag."""
        named = self.digest or self.tag
        assert named is not None, "an address without a digest has a tag"
        return named

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")
