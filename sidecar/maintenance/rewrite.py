"""Puts changed records in place of old ones: layers, then images, then the indexes that name those by digest.

Pushes go on meanwhile, and none of them may be lost: every stage reads the repository anew, every tag is looked at once
more before it is set, and while it is set nobody else writes. After a stage nothing that is pushed through this process
names what it replaced, so the old manifests can go at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from reducto.oci.names import RepositoryName, Tag
from reducto.values import Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.maintenance.walk import SERVICE, Contents, contents_of, names, tags_naming
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord, record_media_type
from sidecar.records.tags import record_tag
from sidecar.upstream.client import Refused

#: Indexes may name indexes; nobody nests them deeper than this.
_NESTING_LIMIT = 16
Changed = Callable[[LayerRecord], LayerRecord]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What `rewrap` did in one repository."""

    repository: str
    records: int


async def rewrap(sidecar: Sidecar, repository: RepositoryName) -> Rewritten:
    """Writes every record anew: envelopes under the repository's present key, signatures by the present signer.

    Blobs stay as they are. Raises `Refused`, `KeyUnavailable`, `UpstreamBroken`.
    """
    wrap = partial(sidecar.seal.rewrap, repository)
    count = await rewrite(sidecar, repository, lambda layer: layer.rewrapped(wrap), always=True)
    return Rewritten(str(repository), count)


async def rewrite(sidecar: Sidecar, repository: RepositoryName, changed: Changed, *, always: bool = False) -> int:
    """Stores ``changed`` of every layer record, and what follows from it; returns how many records were written.

    ``always`` also where nothing changes. New records come first; an old manifest goes when its tags name the new one.
    """
    work = _Rewriting(sidecar, repository)
    contents = await contents_of(sidecar, repository)
    for holder, layer in contents.layers.items():
        if always or changed(layer) != layer:
            await work.replace_layer(holder, changed(layer))
    contents = await contents_of(sidecar, repository)
    for holder, image in contents.images.items():
        new_image = replace(image, layers=tuple(changed(layer) for layer in image.layers))
        if always or new_image != image:
            await work.replace_manifest(contents, holder, new_image)
    for _ in range(_NESTING_LIMIT):
        contents = await contents_of(sidecar, repository)
        before = len(work.moved)
        for holder, index in contents.indexes.items():
            children = tuple(work.moved.get(child.digest, child) for child in index.children)
            if children != index.children or (always and holder not in work.written):
                await work.replace_manifest(contents, holder, replace(index, children=children))
        if len(work.moved) == before:
            break
    await work.remove_old()
    return len(work.written)


@dataclass(slots=True)
class _Rewriting:
    """One rewriting of a repository."""

    sidecar: Sidecar
    repository: RepositoryName
    moved: dict[Digest, Descriptor] = field(default_factory=dict)
    """What stands in place of old manifests."""
    written: set[Digest] = field(default_factory=set)
    """New manifests."""

    async def replace_layer(self, holder: Digest, layer: LayerRecord) -> None:
        """Puts a layer's record in place of the one that ``holder`` is, if that still is the layer's."""
        async with self.sidecar.records.turns.alone(self.repository):
            if await names(self.sidecar, self.repository, record_tag(layer.digest), holder):
                digest = await self.sidecar.records.put_layer(SERVICE, self.repository, layer)
                self._note(holder, Descriptor(record_media_type(layer), digest, 0))

    async def replace_manifest(self, contents: Contents, holder: Digest, record: ImageRecord | IndexRecord) -> None:
        """Puts an image's or index's record in place of ``holder``, under all tags that still name that."""
        records = self.sidecar.records
        async with records.turns.alone(self.repository):
            tags: list[Tag | None] = [*await tags_naming(self.sidecar, contents, holder)]
            if not await self.sidecar.client.may_read(SERVICE, self.repository, holder):
                return  # deleted meanwhile
            for reference in tags or [None]:
                await records.put_manifest(SERVICE, self.repository, record, reference)
            held = await records.manifest(SERVICE, self.repository, record.digest)
            if held is not None:
                self._note(holder, Descriptor(record_media_type(record), held.holder, held.length))

    async def remove_old(self) -> None:
        """Deletes what was replaced, unless another replica has tagged it meanwhile."""
        old = {holder for holder, new in self.moved.items() if new.digest != holder}
        if old:
            contents = await contents_of(self.sidecar, self.repository)
            try:
                for holder in old - contents.records.keys():
                    await self.sidecar.client.delete_manifest(SERVICE, self.repository, holder)
            except Refused as refusal:
                if refusal.status != 405:  # a registry where nothing can be deleted
                    raise

    def _note(self, old: Digest, new: Descriptor) -> None:
        self.moved[old] = new
        self.written.add(new.digest)
