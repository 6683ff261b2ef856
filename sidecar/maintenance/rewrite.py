"""Puts changed records in place of old ones: layers, then images, then the indexes that name those by digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from reducto.errors import ReductoError
from reducto.model import Descriptor, Digest
from sidecar.app import Sidecar
from sidecar.maintenance.walk import SERVICE, Contents, contents_of
from sidecar.names import Repository, Tag
from sidecar.records import ImageRecord, IndexRecord, LayerRecord, record_media_type


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What `rewrap` did in one repository."""

    repository: str
    records: int


async def rewrap(sidecar: Sidecar, repository: Repository) -> Rewritten:
    """Writes every record anew: envelopes under the repository's present key, signatures by the present signer.

    Blobs stay as they are. Raises `Refused`, `KeyUnavailable`, `UpstreamBroken`.
    """
    contents = await contents_of(sidecar, repository)
    wrap = partial(sidecar.seal.rewrap, repository)
    await rewrite(sidecar, contents, lambda layer: layer.rewrapped(wrap), always=True)
    return Rewritten(str(repository), len(contents.records))


async def rewrite(
    sidecar: Sidecar, contents: Contents, changed: Callable[[LayerRecord], LayerRecord], always: bool = False
) -> None:
    """Stores ``changed`` of every layer record, and what follows from it. ``always`` also where nothing changes.

    New records come first; an old manifest is deleted only when its tags name the new one.
    """
    repository, records = contents.repository, sidecar.records
    for layer in contents.layers.values():
        if always or changed(layer) != layer:
            await records.put_layer(SERVICE, repository, changed(layer))
    moved: dict[Digest, Descriptor] = {}
    for holder, image in contents.images.items():
        new_image = replace(image, layers=tuple(changed(layer) for layer in image.layers))
        if always or new_image != image:
            moved[holder] = await _put(sidecar, contents, holder, new_image)
    pending, written = dict(contents.indexes), set[Digest]()
    for _ in range(len(pending) + 1):  # an index may name indexes: once round per level at most
        for holder, index in list(pending.items()):
            children = tuple(moved.get(child.digest, child) for child in index.children)
            if children != index.children or (always and holder not in written):
                pending[holder] = replace(index, children=children)
                moved[holder] = await _put(sidecar, contents, holder, pending[holder])
                written.add(holder)
    for old, new in moved.items():
        if new.digest != old:
            await sidecar.client.delete_manifest(SERVICE, repository, old)


async def _put(sidecar: Sidecar, contents: Contents, holder: Digest, record: ImageRecord | IndexRecord) -> Descriptor:
    tags: list[Tag | None] = [*contents.tags.get(holder, [])]
    for tag in tags or [None]:
        await sidecar.records.put_manifest(SERVICE, contents.repository, record, tag)
    held = await sidecar.records.manifest(SERVICE, contents.repository, record.digest)
    if held is None:
        raise ReductoError(f"the record of {record.digest} vanished while it was replaced")
    return Descriptor(record_media_type(record), held.holder, held.length)
