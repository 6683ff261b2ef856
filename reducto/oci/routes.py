"""The registry API's paths, parsed once into values.

A path that is none of ours (`Other`) still goes to the upstream untouched: a registry's extensions, its token
endpoint, its user interface.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from reducto.errors import UsageError
from reducto.oci.names import Reference, RepositoryName, parse_reference
from reducto.values import Digest


@dataclass(frozen=True, slots=True)
class Base:
    """``/v2/``: the version check."""

    path: str = "/v2/"


@dataclass(frozen=True, slots=True)
class Catalog:
    """``/v2/_catalog``."""

    path: str = "/v2/_catalog"


@dataclass(frozen=True, slots=True)
class Tags:
    """``/v2/<name>/tags/list``."""

    repository: RepositoryName

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/tags/list"


@dataclass(frozen=True, slots=True)
class ManifestAt:
    """``/v2/<name>/manifests/<reference>``."""

    repository: RepositoryName
    reference: Reference

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/manifests/{self.reference}"


@dataclass(frozen=True, slots=True)
class BlobAt:
    """``/v2/<name>/blobs/<digest>``."""

    repository: RepositoryName
    digest: Digest

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/blobs/{self.digest}"


@dataclass(frozen=True, slots=True)
class Uploads:
    """``/v2/<name>/blobs/uploads/``: where an upload starts."""

    repository: RepositoryName

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/"


@dataclass(frozen=True, slots=True)
class UploadAt:
    """``/v2/<name>/blobs/uploads/<id>``."""

    repository: RepositoryName
    session_id: str

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/blobs/uploads/{self.session_id}"


@dataclass(frozen=True, slots=True)
class Referrers:
    """``/v2/<name>/referrers/<digest>``."""

    repository: RepositoryName
    digest: Digest

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/referrers/{self.digest}"


@dataclass(frozen=True, slots=True)
class Other:
    """A path outside this API, or one that breaks its grammar; ``complaint`` says how, for a store of our own."""

    path: str
    complaint: str = ""


Route = Base | Catalog | Tags | ManifestAt | BlobAt | Uploads | UploadAt | Referrers | Other

# The last keyword decides, since a repository may itself be called "blobs" or "manifests".
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("upload", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<last>[A-Za-z0-9_.=-]{1,128})")),
    ("uploads", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?(?P<last>)")),
    ("tags", re.compile(r"/v2/(?P<name>.+)/tags/list(?P<last>)")),
    ("manifest", re.compile(r"/v2/(?P<name>.+)/manifests/(?P<last>[^/]+)")),
    ("blob", re.compile(r"/v2/(?P<name>.+)/blobs/(?P<last>[^/]+)")),
    ("referrers", re.compile(r"/v2/(?P<name>.+)/referrers/(?P<last>[^/]+)")),
)


def parse(path: str) -> Route:
    """The route of a decoded URL path. Never raises: what does not parse is `Other` with a complaint."""
    if path in ("/v2/", "/v2"):
        return Base()
    if path == "/v2/_catalog":
        return Catalog()
    if len(path) > 1024:
        return Other(path, "the path is longer than 1024 characters")
    for kind, shape in _SHAPES:
        match = shape.fullmatch(path)
        if match is None:
            continue
        try:
            return _build(kind, RepositoryName.parse(match["name"]), match["last"])
        except UsageError as error:
            return Other(path, str(error))
    return Other(path)


def _build(kind: str, repository: RepositoryName, last: str) -> Route:
    match kind:
        case "upload":
            return UploadAt(repository, last)
        case "uploads":
            return Uploads(repository)
        case "tags":
            return Tags(repository)
        case "manifest":
            return ManifestAt(repository, parse_reference(last))
        case "blob":
            return BlobAt(repository, Digest.parse(last))
        case _:
            return Referrers(repository, Digest.parse(last))
