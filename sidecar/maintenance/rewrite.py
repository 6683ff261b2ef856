"""Puts changed records in place of old ones: layers, then images, then the indexes that name those by digest.

Pushes go on meanwhile, and none of them may be lost: every stage reads the repository anew, every tag is looked at once
more before it is set, and while it is set nobody else writes. After a stage nothing that is pushed through this process
names what it replaced, so the old manifests can go at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from reducto.oci.errors import Refused
from reducto.oci.names import RepositoryName, Tag
from reducto.values import Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.maintenance.walk import Contents, contents_of, names
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord, record_media_type
from sidecar.records.repository import Repository
from sidecar.records.tags import record_tag

#: Indexes may name indexes; nobody nests them deeper than this.
_NESTING_LIMIT = 16
Changed = Callable[[LayerRecord], LayerRecord]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What `rewrap` did in one repository."""

    repository: str
    records: int


async def rewrap(sidecar: Sidecar, name: RepositoryName) -> Rewritten:
    """Writes every record anew: envelopes under the repository's present key, signatures by the present signer.

    Blobs stay as they are. Raises `Refused`, `KeyUnavailable`, `UpstreamBroken`.
    """
    wrap = partial(sidecar.upstream.protector.rewrap, name)
    count = await rewrite(sidecar.repository(name), lambda layer: layer.rewrapped(wrap), always=True)
    return Rewritten(str(name), count)


async def rewrite(repository: Repository, changed: Changed, *, always: bool = False) -> int:
    """Stores ``changed`` of every layer record, and what follows from it; returns how many records were written.

    ``always`` also where nothing changes. New records come first; an old manifest goes when its tags name the new one.
    """
    work = _Rewriting(repository)
    contents = await contents_of(repository)
    for manifest, layer in contents.layers.items():
        if always or changed(layer) != layer:
            await work.replace_layer(manifest, changed(layer))
    contents = await contents_of(repository)
    for manifest, image in contents.images.items():
        new_image = replace(image, layers=tuple(changed(layer) for layer in image.layers))
        if always or new_image != image:
            await work.replace_manifest(contents, manifest, new_image)
    for _ in range(_NESTING_LIMIT):
        contents = await contents_of(repository)
        before = len(work.moved)
        for manifest, index in contents.indexes.items():
            children = tuple(work.moved.get(child.digest, child) for child in index.children)
            if children != index.children or (always and manifest not in work.written):
                await work.replace_manifest(contents, manifest, replace(index, children=children))
        if len(work.moved) == before:
            break
    await work.remove_old()
    return len(work.written)


@dataclass(slots=True)
class _Rewriting:
    """One rewriting of a repository."""

    repository: Repository
    moved: dict[Digest, Descriptor] = field(default_factory=dict)
    """What stands in place of old manifests."""
    written: set[Digest] = field(default_factory=set)
    """New manifests."""

    async def replace_layer(self, manifest: Digest, layer: LayerRecord) -> None:
        """Puts a layer's record in place of the one that ``manifest`` is, if that still is the layer's."""
        async with self.repository.rewriting():
            if await names(self.repository, record_tag(layer.digest), manifest):
                digest = await self.repository.put_layer(layer)
                self._note(manifest, Descriptor(record_media_type(layer), digest, 0))

    async def replace_manifest(self, contents: Contents, manifest: Digest, record: ImageRecord | IndexRecord) -> None:
        """Puts an image's or index's record in place of ``manifest``, under all tags that still name that."""
        repository = self.repository
        async with repository.rewriting():
            tags: list[Tag | None] = [*await contents.tags_naming(manifest)]
            if not await repository.shows(manifest):
                return  # deleted meanwhile
            for reference in tags or [None]:
                await repository.put_record(record, reference)
            found = await repository.manifest_record(record.digest)
            if found is not None:
                self._note(manifest, Descriptor(record_media_type(record), found.manifest_digest, found.length))

    async def remove_old(self) -> None:
        """Deletes what was replaced, unless another replica has tagged it meanwhile."""
        old = {manifest for manifest, new in self.moved.items() if new.digest != manifest}
        if old:
            contents = await contents_of(self.repository)
            try:
                for manifest in old - contents.records.keys():
                    await self.repository.delete_manifest(manifest)
            except Refused as refusal:
                if refusal.status != 405:  # a registry where nothing can be deleted
                    raise

    def _note(self, old: Digest, new: Descriptor) -> None:
        self.moved[old] = new
        self.written.add(new.digest)
