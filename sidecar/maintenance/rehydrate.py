"""`reducto rehydrate`: turns a repository back into plain images, which work without the sidecar."""

from __future__ import annotations

from dataclasses import dataclass

from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.app import Sidecar
from sidecar.maintenance.walk import Contents, contents_of
from sidecar.records.format import ImageRecord, IndexRecord


@dataclass(frozen=True, slots=True)
class Restored:
    """A manifest that is stored as it was pushed again."""

    repository: str
    digest: str


async def rehydrate(sidecar: Sidecar, name: RepositoryName, *, keep_records: bool = False) -> list[Restored]:
    """Stores every blob and manifest of the repository as it was pushed; returns the manifests.

    Records are deleted, unless ``keep_records``, after everything for which they stand is stored. Raises the errors of
    a rebuild; no record was deleted then.
    """
    repository = sidecar.repository(name)
    contents = await contents_of(repository)
    layers = {layer.digest: layer for image in contents.images.values() for layer in image.layers}
    layers |= {layer.digest: layer for layer in contents.layers.values()}
    for layer in layers.values():
        await sidecar.pull.restorer.restore(repository, layer)
    restored = []
    documents: dict[Digest, ImageRecord | IndexRecord] = {**contents.images, **contents.indexes}
    for manifest in [*contents.images, *_children_first(contents)]:
        record = documents[manifest]
        await _restore_manifest(contents, manifest, record)
        restored.append(Restored(str(repository), str(record.digest)))
    if not keep_records:
        for manifest in contents.records:
            await repository.delete_manifest(manifest)
    return restored


async def _restore_manifest(contents: Contents, manifest: Digest, record: ImageRecord | IndexRecord) -> None:
    repository = contents.repository
    async with repository.rewriting():
        await repository.put_manifest(record.digest, record.original, record.media_type)
        for tag in await contents.tags_naming(manifest):
            await repository.put_manifest(tag, record.original, record.media_type)


def _children_first(contents: Contents) -> list[Digest]:
    """The manifest digests of index records. Each index comes behind the indexes that it names."""
    ordered: dict[Digest, None] = {}

    def visit(manifest: Digest) -> None:
        if manifest in ordered or manifest not in contents.indexes:
            return
        for child in contents.indexes[manifest].children:
            visit(child.digest)
        ordered[manifest] = None

    for manifest in contents.indexes:
        visit(manifest)
    return list(ordered)
