"""Walks a repository: which tags there are, which manifests they stand for, which of them are records."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from reducto.oci.names import RepositoryName, Tag
from reducto.values import Digest
from sidecar.app import Sidecar
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord
from sidecar.records.store import Held
from sidecar.records.tags import is_record_tag
from sidecar.upstream.base import Caller
from sidecar.upstream.client import StoredManifest

SERVICE = Caller(user_agent="reducto", service=True)


@dataclass(slots=True)
class Contents:
    """Everything in one repository, by the digest of the manifest in the upstream."""

    repository: RepositoryName
    tags: dict[Digest, list[Tag]] = field(default_factory=lambda: defaultdict(list))
    """Clients' tags of each manifest."""
    hidden: dict[Digest, list[Tag]] = field(default_factory=lambda: defaultdict(list))
    """Record tags of each manifest."""
    records: dict[Digest, Held] = field(default_factory=dict)
    plain: dict[Digest, StoredManifest] = field(default_factory=dict)

    @property
    def layers(self) -> dict[Digest, LayerRecord]:
        """Layer records by the holder's digest."""
        return {name: held.record for name, held in self.records.items() if isinstance(held.record, LayerRecord)}

    @property
    def images(self) -> dict[Digest, ImageRecord]:
        """Image records by the holder's digest."""
        return {name: held.record for name, held in self.records.items() if isinstance(held.record, ImageRecord)}

    @property
    def indexes(self) -> dict[Digest, IndexRecord]:
        """Index records by the holder's digest."""
        return {name: held.record for name, held in self.records.items() if isinstance(held.record, IndexRecord)}


async def contents_of(sidecar: Sidecar, repository: RepositoryName) -> Contents:
    """Reads every tag, and what indexes name below them. Raises `Refused`, `Unavailable`, `UpstreamBroken`."""
    contents = Contents(repository)
    async for name in sidecar.client.tags(SERVICE, repository):
        tag = Tag(name)
        found = await sidecar.client.get_manifest(SERVICE, repository, tag)
        if found is None:
            continue  # deleted since it was listed
        (contents.hidden if is_record_tag(tag) else contents.tags)[found.digest].append(tag)
        await _note(sidecar, contents, found)
    return contents


async def names(sidecar: Sidecar, repository: RepositoryName, tag: Tag, manifest: Digest) -> bool:
    """Whether the tag names this manifest just now: a client may have moved it since `contents_of`."""
    found = await sidecar.client.get_manifest(SERVICE, repository, tag)
    return found is not None and found.digest == manifest


async def tags_naming(sidecar: Sidecar, contents: Contents, manifest: Digest) -> list[Tag]:
    """Those of the tags that named the manifest which still `names` it."""
    known = contents.tags.get(manifest, ())
    return [tag for tag in known if await names(sidecar, contents.repository, tag, manifest)]


async def repositories_of(sidecar: Sidecar, named: list[str]) -> list[RepositoryName]:
    """The repositories that the command line names, or all that the catalog lists. Raises `UsageError`."""
    if named:
        return [RepositoryName.parse(name) for name in named]
    return [RepositoryName(name) async for name in sidecar.client.repositories(SERVICE)]


async def _note(sidecar: Sidecar, contents: Contents, found: StoredManifest) -> None:
    if found.digest in contents.records or found.digest in contents.plain:
        return
    held = await sidecar.records.parse(SERVICE, contents.repository, found)
    if held is None:
        contents.plain[found.digest] = found
        return
    contents.records[found.digest] = held
    if isinstance(held.record, IndexRecord):
        for child in held.record.children:
            below = await sidecar.client.get_manifest(SERVICE, contents.repository, child.digest)
            if below is not None:
                await _note(sidecar, contents, below)
