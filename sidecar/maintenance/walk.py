"""Reads a whole repository: its tags, the manifests that they name, and the records among these."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from reducto.oci.client import StoredManifest
from reducto.oci.names import RepositoryName, Tag
from reducto.values import Digest
from sidecar.app import SERVICE, Sidecar
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord
from sidecar.records.memory import StoredRecord
from sidecar.records.repository import Repository
from sidecar.records.tags import is_record_tag


@dataclass(slots=True)
class Contents:
    """The tags, records and plain manifests of one repository, by the digest of the manifest in the upstream."""

    repository: Repository
    tags: dict[Digest, list[Tag]] = field(default_factory=lambda: defaultdict(list))
    """The clients' tags that name each manifest."""
    hidden: dict[Digest, list[Tag]] = field(default_factory=lambda: defaultdict(list))
    """The record tags that name each manifest."""
    records: dict[Digest, StoredRecord] = field(default_factory=dict)
    plain: dict[Digest, StoredManifest] = field(default_factory=dict)

    @property
    def layers(self) -> dict[Digest, LayerRecord]:
        """The layer records by manifest digest."""
        return {name: each.record for name, each in self.records.items() if isinstance(each.record, LayerRecord)}

    @property
    def images(self) -> dict[Digest, ImageRecord]:
        """The image records by manifest digest."""
        return {name: each.record for name, each in self.records.items() if isinstance(each.record, ImageRecord)}

    @property
    def indexes(self) -> dict[Digest, IndexRecord]:
        """The index records by manifest digest."""
        return {name: each.record for name, each in self.records.items() if isinstance(each.record, IndexRecord)}

    async def tags_naming(self, manifest: Digest) -> list[Tag]:
        """The clients' tags that named the manifest when the repository was read and still name it."""
        return [tag for tag in self.tags.get(manifest, ()) if await still_names(self.repository, tag, manifest)]


async def contents_of(repository: Repository) -> Contents:
    """Reads all tagged manifests, and those that indexes name. Raises `Refused`, `Unavailable`, `UpstreamBroken`."""
    contents = Contents(repository)
    async for name in repository.tags():
        tag = Tag(name)
        found = await repository.manifest(tag)
        if found is None:
            continue  # The tag was deleted after it was listed.
        (contents.hidden if is_record_tag(tag) else contents.tags)[found.digest].append(tag)
        await _note(contents, found)
    return contents


async def still_names(repository: Repository, tag: Tag, manifest: Digest) -> bool:
    """Whether the tag still names this manifest. A client may have moved the tag since `contents_of` read it."""
    found = await repository.manifest(tag)
    return found is not None and found.digest == manifest


async def repositories_of(sidecar: Sidecar, named: list[str]) -> list[RepositoryName]:
    """The repositories that the command line names, or all that the catalog lists. Raises `UsageError`."""
    if named:
        return [RepositoryName.parse(name) for name in named]
    registry = sidecar.upstream.repositories.registry
    return [RepositoryName(name) async for name in registry.repositories(SERVICE)]


async def _note(contents: Contents, manifest: StoredManifest) -> None:
    """Notes a manifest, and those that index records name below it. Each is read once, however many name it."""
    waiting = [manifest]
    seen: set[Digest] = set()
    while waiting:
        found = waiting.pop()
        if found.digest in contents.records or found.digest in contents.plain:
            continue
        parsed = await contents.repository.parse_record(found)
        if parsed is None:
            contents.plain[found.digest] = found
            continue
        contents.records[found.digest] = parsed
        for child in parsed.record.children if isinstance(parsed.record, IndexRecord) else ():
            if child.digest in seen or child.digest in contents.records or child.digest in contents.plain:
                continue
            seen.add(child.digest)
            below = await contents.repository.manifest(child.digest)
            if below is not None:
                waiting.append(below)
