"""`reducto rehydrate`: back to plain images, so that leaving is safe."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.app import Sidecar
from sidecar.maintenance.walk import SERVICE, Contents, contents_of, tags_naming
from sidecar.pull.decoders import write_layer
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord


@dataclass(frozen=True, slots=True)
class Restored:
    """A manifest that is plain again."""

    repository: str
    digest: str


async def rehydrate(sidecar: Sidecar, repository: RepositoryName, *, keep_records: bool = False) -> list[Restored]:
    """Stores every blob and manifest of the repository as it was pushed; returns the manifests.

    Records go only after everything they stood for is back. Raises what a rebuild raises: then nothing was removed.
    """
    contents = await contents_of(sidecar, repository)
    done: set[Digest] = set()
    for layer in contents.layers.values():
        await _restore_blob(sidecar, repository, layer, done)
    for image in contents.images.values():
        for layer in image.layers:
            await _restore_blob(sidecar, repository, layer, done)
    restored = []
    for holder in [*contents.images, *_children_first(contents)]:
        record = contents.records[holder].record
        assert isinstance(record, ImageRecord | IndexRecord)
        await _restore_manifest(sidecar, contents, holder, record)
        restored.append(Restored(repository.name, str(record.digest)))
    if not keep_records:
        for holder in contents.records:
            await sidecar.client.delete_manifest(SERVICE, repository, holder)
    return restored


async def _restore_blob(sidecar: Sidecar, repository: RepositoryName, layer: LayerRecord, done: set[Digest]) -> None:
    if layer.digest in done or await sidecar.client.has_blob(SERVICE, repository, layer.digest):
        done.add(layer.digest)
        return
    path = sidecar.scratch.path / f"rehydrate-{secrets.token_hex(8)}"
    decoder = await sidecar.layers.decoder(SERVICE, repository, layer)
    try:
        await sidecar.offload.run(write_layer, layer, decoder, path)
        await sidecar.client.put_blob(SERVICE, repository, layer.digest, path)
    finally:
        await sidecar.offload.run(decoder.close)
        await sidecar.offload.io(path.unlink, True)
    done.add(layer.digest)


async def _restore_manifest(
    sidecar: Sidecar, contents: Contents, holder: Digest, record: ImageRecord | IndexRecord
) -> None:
    put, repository = sidecar.client.put_manifest, contents.repository
    async with sidecar.records.turns.alone(repository):
        await put(SERVICE, repository, record.digest, record.original, record.media_type)
        for tag in await tags_naming(sidecar, contents, holder):
            await put(SERVICE, repository, tag, record.original, record.media_type)


def _children_first(contents: Contents) -> list[Digest]:
    """Index records, those that others name before the others."""
    ordered: dict[Digest, None] = {}

    def visit(holder: Digest) -> None:
        if holder in ordered or holder not in contents.indexes:
            return
        for child in contents.indexes[holder].children:
            visit(child.digest)
        ordered[holder] = None

    for holder in contents.indexes:
        visit(holder)
    return list(ordered)
