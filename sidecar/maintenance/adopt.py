"""`reducto adopt`: reduces images that were in the repository before the sidecar was."""

from __future__ import annotations

import time
from dataclasses import dataclass

from reducto.oci.client import StoredManifest
from reducto.oci.manifest import Manifest
from reducto.oci.names import RepositoryName
from reducto.oci.transport import StreamBody
from reducto.values import Descriptor
from sidecar.api.manifests import build_record
from sidecar.app import Sidecar
from sidecar.maintenance.walk import Contents, contents_of
from sidecar.records.repository import Repository


@dataclass(slots=True)
class Adopted:
    """What came of one repository, in numbers and bytes."""

    repository: str
    images: int = 0
    layers: int = 0
    wire_bytes: int = 0
    stored_bytes: int = 0


async def adopt(sidecar: Sidecar, name: RepositoryName, *, keep_originals: bool = False) -> Adopted:
    """Reduces every layer that pays, then lets records stand for the images.

    The originals' manifests are deleted unless ``keep_originals``; their blobs are then the registry's garbage. What is
    interrupted can be started again. Raises `Refused`, `Unavailable`.
    """
    repository = sidecar.repository(name)
    contents = await contents_of(repository)
    result = Adopted(str(repository))
    plain = {digest: Manifest.parse(found.data, found.media_type) for digest, found in contents.plain.items()}
    for manifest in plain.values():
        for blob in manifest.blobs:
            if not blob.foreign and blob.descriptor.size >= sidecar.config.gate.min_blob_size:
                await _adopt_blob(sidecar, repository, blob.descriptor, result)
    # Images before the indexes that name them, so that an index finds its children's records.
    for digest in sorted(plain, key=lambda each: plain[each].is_index):
        await _adopt_manifest(contents, contents.plain[digest], plain[digest], keep_originals, result)
    return result


async def _adopt_blob(sidecar: Sidecar, repository: Repository, blob: Descriptor, result: Adopted) -> None:
    """Pushes the blob once more, from the upstream itself: it passes through the same steps as a client's push."""
    if await repository.layer(blob.digest) is not None:
        return
    sessions = sidecar.push.sessions
    upload = await sessions.start(repository, await repository.open_upload())
    try:
        upload.encoding = sidecar.push.start_encoding(upload)
        if upload.encoding is None:
            return
        await sessions.receive(upload, StreamBody(repository.blob_pieces(blob), blob.size), None)
        if upload.hasher.hexdigest() != blob.digest.hex:
            return  # A damaged blob is left for its owner to find.
        outcome = await upload.encoding.finish(blob.digest)
        committed = await sidecar.push.committer.commit(upload, blob.digest, outcome, time.monotonic(), adopting=True)
        if committed.reduced:
            result.layers += 1
            result.wire_bytes += blob.size
            result.stored_bytes += committed.stored_bytes
    finally:
        await sessions.drop(upload)


async def _adopt_manifest(
    contents: Contents, found: StoredManifest, manifest: Manifest, keep_originals: bool, result: Adopted
) -> None:
    repository = contents.repository
    record = await build_record(repository, manifest, found.data)
    if record is None:
        return
    async with repository.rewriting():
        await repository.put_record(record, found.digest)
        for tag in await contents.tags_naming(found.digest):
            await repository.put_record(record, tag)
    result.images += 1
    if not keep_originals:
        await repository.delete_manifest(found.digest)
