"""Replaces records by changed ones: first those of layers, then of images, then of the indexes that name images.

Pushes go on meanwhile, and none may be lost. Therefore each stage reads the repository again, each tag is read again
just before it is set, and tags are set while no push through this process stores a manifest. After a stage, new pushes
name only the new records, so the old manifests can be deleted at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from reducto.oci.names import RepositoryName, Tag
from reducto.oci.registry_errors import Refused
from reducto.values import Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.maintenance.walk import Contents, contents_of, still_names
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord, record_media_type
from sidecar.records.repository import Repository
from sidecar.records.tags import record_tag

#: Indexes may name indexes. Deeper nesting than this is not followed.
_NESTING_LIMIT = 16
Changed = Callable[[LayerRecord], LayerRecord]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The result of `rewrap` in one repository."""

    repository: str
    records: int


async def rewrap(sidecar: Sidecar, name: RepositoryName) -> Rewritten:
    """Writes every record again, with envelopes under the repository's present key and signatures of the present
    signer.

    Blobs stay as they are. Raises `Refused`, `KeyUnavailable`, `UpstreamBroken`.
    """
    wrap = partial(sidecar.upstream.protector.rewrap, name)
    count = await rewrite(sidecar.repository(name), lambda layer: layer.rewrapped(wrap), always=True)
    return Rewritten(str(name), count)


async def rewrite(repository: Repository, changed: Changed, *, always: bool = False) -> int:
    """Replaces every layer record by ``changed(record)``, and the records of images and indexes accordingly.

    Returns how many records were written. Records that do not change are written only with ``always``. Old manifests
    are deleted at the end, when no tag names them any more.
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
    """The state of one rewriting of a repository."""

    repository: Repository
    moved: dict[Digest, Descriptor] = field(default_factory=dict)
    """The new manifest for each old one."""
    written: set[Digest] = field(default_factory=set)
    """The digests of new manifests."""

    async def replace_layer(self, manifest: Digest, layer: LayerRecord) -> None:
        """Replaces the layer record with the digest ``manifest``, if the layer's record tag still names it."""
        async with self.repository.rewriting():
            if await still_names(self.repository, record_tag(layer.digest), manifest):
                digest = await self.repository.put_layer(layer)
                self._note(manifest, Descriptor(record_media_type(layer), digest, 0))

    async def replace_manifest(self, contents: Contents, manifest: Digest, record: ImageRecord | IndexRecord) -> None:
        """Replaces the image or index record with the digest ``manifest``, under all tags that still name it."""
        repository = self.repository
        async with repository.rewriting():
            tags: list[Tag | None] = [*await contents.tags_naming(manifest)]
            if not await repository.shows(manifest):
                return  # A client has deleted the manifest since it was read.
            for reference in tags or [None]:
                await repository.put_record(record, reference)
            found = await repository.manifest_record(record.digest)
            if found is not None:
                self._note(manifest, Descriptor(record_media_type(record), found.manifest_digest, found.length))

    async def remove_old(self) -> None:
        """Deletes the old manifests, but not those that another replica has tagged since."""
        old = {manifest for manifest, new in self.moved.items() if new.digest != manifest}
        if old:
            contents = await contents_of(self.repository)
            try:
                for manifest in old - contents.records.keys():
                    await self.repository.delete_manifest(manifest)
            except Refused as refusal:
                if refusal.status != 405:  # Some registries do not allow deleting; old manifests then stay.
                    raise

    def _note(self, old: Digest, new: Descriptor) -> None:
        self.moved[old] = new
        self.written.add(new.digest)
