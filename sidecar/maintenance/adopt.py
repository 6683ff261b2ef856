"""`reducto adopt`: reduces images that were in the repository before the sidecar was."""

from __future__ import annotations

import time
from dataclasses import dataclass

from reducto.oci.manifest import Manifest
from reducto.oci.names import RepositoryName
from reducto.values import Descriptor
from sidecar.app import Sidecar
from sidecar.codec.interface import Reduction
from sidecar.maintenance.walk import SERVICE, Contents, contents_of, tags_naming
from sidecar.upstream.base import StreamBody
from sidecar.upstream.client import StoredManifest


@dataclass(slots=True)
class Adopted:
    """What came of one repository, in numbers and bytes."""

    repository: str
    images: int = 0
    layers: int = 0
    wire_bytes: int = 0
    stored_bytes: int = 0


async def adopt(sidecar: Sidecar, repository: RepositoryName, *, keep_originals: bool = False) -> Adopted:
    """Reduces every layer that pays, then lets records stand for the images.

    The originals' manifests are deleted unless ``keep_originals``; their blobs are then the registry's garbage. What is
    interrupted can be started again. Raises `Refused`, `Unavailable`.
    """
    contents = await contents_of(sidecar, repository)
    result = Adopted(repository.name)
    plain = {digest: Manifest.parse(found.data, found.media_type) for digest, found in contents.plain.items()}
    for manifest in plain.values():
        for blob in manifest.blobs:
            if not blob.foreign and blob.descriptor.size >= sidecar.config.gate.min_blob_size:
                await _adopt_blob(sidecar, repository, blob.descriptor, result)
    # Images before the indexes that name them, so that an index finds its children's records.
    for digest in sorted(plain, key=lambda name: plain[name].is_index):
        await _adopt_manifest(sidecar, contents, contents.plain[digest], plain[digest], keep_originals, result)
    return result


async def _adopt_blob(sidecar: Sidecar, repository: RepositoryName, blob: Descriptor, result: Adopted) -> None:
    if await sidecar.records.layer(SERVICE, repository, blob.digest) is not None:
        return
    location = await sidecar.client.open_upload(SERVICE, repository)
    upload = await sidecar.sessions.start(repository, SERVICE, location)
    try:
        upload.encoding = sidecar.start_encoding(upload)
        if upload.encoding is None:
            return
        pieces = sidecar.client.blob_pieces(SERVICE, repository, blob)
        await sidecar.sessions.receive(upload, StreamBody(pieces, blob.size), None)
        if upload.hasher.hexdigest() != blob.digest.hex:
            return  # a damaged blob is left for its owner to find
        outcome = await upload.encoding.finish(blob.digest)
        if isinstance(outcome, Reduction):
            stored = await sidecar.keeper.keep_reduced(SERVICE, upload, blob.digest, outcome)
            sidecar.keeper.report(upload, blob.digest, outcome, "adopted", stored, time.monotonic())
            result.layers += 1
            result.wire_bytes += blob.size
            result.stored_bytes += stored
    finally:
        await sidecar.sessions.drop(upload)


async def _adopt_manifest(
    sidecar: Sidecar,
    contents: Contents,
    found: StoredManifest,
    manifest: Manifest,
    keep_originals: bool,
    result: Adopted,
) -> None:
    repository, records = contents.repository, sidecar.records
    record = await sidecar.manifests.build_record(SERVICE, repository, manifest, found.data)
    if record is None:
        return
    async with records.turns.alone(repository):
        await records.put_manifest(SERVICE, repository, record, found.digest)
        for tag in await tags_naming(sidecar, contents, found.digest):
            await records.put_manifest(SERVICE, repository, record, tag)
    result.images += 1
    if not keep_originals:
        await sidecar.client.delete_manifest(SERVICE, contents.repository, found.digest)
