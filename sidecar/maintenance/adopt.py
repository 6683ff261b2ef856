"""`reducto adopt`: reduces images that were pushed to the registry before the sidecar stood in front of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from reducto.oci.manifest import Manifest
from reducto.oci.names import RepositoryName
from reducto.oci.registry_errors import ManifestInvalid
from reducto.oci.transport import StreamBody
from reducto.values import Descriptor, Digest
from sidecar.api.manifests import build_record
from sidecar.app import Sidecar
from sidecar.maintenance.walk import Contents, contents_of
from sidecar.records.format import ImageRecord, IndexRecord
from sidecar.records.repository import Repository
from sidecar.runtime import logs


@dataclass(slots=True)
class Adopted:
    """What was adopted in one repository, in numbers and bytes."""

    repository: str
    images: int = 0
    layers: int = 0
    wire_bytes: int = 0
    stored_bytes: int = 0
    unreadable: int = 0
    """Manifests that are left as they are, because their kind is unknown."""


async def adopt(sidecar: Sidecar, name: RepositoryName, *, keep_originals: bool = False) -> Adopted:
    """Reduces every layer for which that saves space, then replaces the manifests of these layers' images by records.

    The original manifests are deleted unless ``keep_originals``. The registry's garbage collection then removes the
    original blobs. An adoption that was interrupted can be run again. Raises `Refused`, `Unavailable`.
    """
    repository = sidecar.repository(name)
    contents = await contents_of(repository)
    result = Adopted(str(repository))
    plain = _readable(contents, result)
    for manifest in plain.values():
        for blob in manifest.blobs:
            if not blob.foreign and blob.descriptor.size >= sidecar.config.gate.min_blob_size:
                await _adopt_blob(sidecar, repository, blob.descriptor, result)
    # Images come before the indexes that name them, so that an index finds its children's records.
    for digest in sorted(plain, key=lambda each: plain[each].is_index):
        data = contents.plain[digest].data
        record = await build_record(repository, plain[digest], data, sidecar.pull.restorer.restore)
        if record is not None:
            await _adopt_manifest(contents, digest, record, keep_originals)
            result.images += 1
    return result


def _readable(contents: Contents, result: Adopted) -> dict[Digest, Manifest]:
    """The repository's plain manifests of known kinds, parsed. Others are counted and logged."""
    plain = {}
    for digest, found in contents.plain.items():
        try:
            plain[digest] = Manifest.parse(found.data, found.media_type)
        except ManifestInvalid as error:
            result.unreadable += 1
            logs.event("manifest-not-adopted", repository=result.repository, digest=str(digest), error=str(error)[:200])
    return plain


async def _adopt_blob(sidecar: Sidecar, repository: Repository, blob: Descriptor, result: Adopted) -> None:
    """Pushes the blob again, by the same steps as a client's push. Its bytes come from the upstream."""
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
    contents: Contents, digest: Digest, record: ImageRecord | IndexRecord, keep_originals: bool
) -> None:
    """Puts the record in place of the plain manifest ``digest``."""
    repository = contents.repository
    async with repository.rewriting():
        await repository.put_record(record, digest)
        for tag in await contents.tags_naming(digest):
            await repository.put_record(record, tag)
    if not keep_originals:
        await repository.delete_manifest(digest)
