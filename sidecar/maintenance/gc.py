"""`reducto gc`: removes the records of layers that no image names any more.

The registry's own garbage collection then removes the blobs. In the embedded store `sweep` does that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from reducto.oci.manifest import digests_in
from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.app import Sidecar
from sidecar.embedded.store import EmbeddedUpstream
from sidecar.maintenance.walk import Contents, contents_of
from sidecar.records.format import LayerRecord


@dataclass(frozen=True, slots=True)
class Removed:
    """A record that was removed, or would be without ``dry_run``."""

    repository: str
    kind: str
    digest: str


async def collect(
    sidecar: Sidecar, name: RepositoryName, grace_seconds: float, *, untagged: bool = False, dry_run: bool = False
) -> list[Removed]:
    """Removes records that nothing needs and that are older than ``grace_seconds``; returns them.

    With ``untagged`` an image needs a client's tag, or an index or subject that has one, to be kept. Raises `Refused`
    if the registry does not allow listing or deleting.
    """
    repository = sidecar.repository(name)
    contents = await contents_of(repository)
    oldest = time.time() - grace_seconds
    live = _live_images(contents) if untagged else {*contents.images, *contents.indexes}
    needed = {layer.digest for each, image in contents.images.items() if each in live for layer in image.layers}
    needed |= _named_by_originals(contents, live)
    doomed: dict[Digest, Removed] = {}
    for manifest, layer in contents.layers.items():
        if layer.digest not in needed and layer.created < oldest:
            doomed[manifest] = Removed(str(repository), "layer", str(layer.digest))
    for manifest, image in contents.images.items():
        if manifest not in live and all(layer.created < oldest for layer in _layers_of(contents, manifest)):
            doomed[manifest] = Removed(str(repository), "image", str(image.digest))
    for manifest, index in contents.indexes.items():
        if manifest not in live:
            doomed[manifest] = Removed(str(repository), "index", str(index.digest))
    for manifest in () if dry_run else doomed:
        await repository.delete_manifest(manifest)
    return list(doomed.values())


async def sweep(sidecar: Sidecar, grace_seconds: float, *, dry_run: bool = False) -> int:
    """Removes blobs that no manifest of the embedded store names; returns their bytes. Returns 0 for a registry."""
    upstream = sidecar.upstream.storage
    if not isinstance(upstream, EmbeddedUpstream):
        return 0
    return await sidecar.runtime.offload.io(upstream.layout.sweep, grace_seconds, dry_run)


def _named_by_originals(contents: Contents, live: set[Digest]) -> set[Digest]:
    """All digests in the text of clients' manifests that stay. The records of layers with these digests must stay, too.

    The text is searched as a whole, because an index may name layers, and a manifest of an unknown kind may name blobs
    anywhere.
    """
    records = {**contents.images, **contents.indexes}
    originals = [records[each].original for each in live if each in records]
    return set().union(*map(digests_in, [*originals, *(found.data for found in contents.plain.values())]))


def _layers_of(contents: Contents, manifest: Digest) -> list[LayerRecord]:
    named = {layer.digest for layer in contents.images[manifest].layers}
    return [layer for layer in contents.layers.values() if layer.digest in named]


def _live_images(contents: Contents) -> set[Digest]:
    """The manifest digests of records that a client's tag, a live index or a live subject leads to."""
    live = {manifest for manifest in contents.records if contents.tags.get(manifest)}
    originals = {stored.record.digest for stored in contents.records.values()} | set(contents.plain)
    subjects = {manifest: image.subject for manifest, image in contents.images.items()}
    subjects |= {manifest: index.subject for manifest, index in contents.indexes.items()}
    live |= {manifest for manifest, subject in subjects.items() if subject and subject.digest in originals}
    queue = list(live)
    while queue:
        index = contents.indexes.get(queue.pop())
        for child in index.children if index else ():
            if child.digest not in live:
                live.add(child.digest)
                queue.append(child.digest)
    return live
