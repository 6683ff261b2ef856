"""Cross-repository mounts of layers that are stored reduced: every blob that their record names is mounted instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reducto.errors import UsageError
from reducto.oci.errors import Refused
from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.records.repository import Repository
from sidecar.runtime import logs


async def mount_reduced(repository: Repository, query: Mapping[str, str]) -> Digest | None:
    """The blob that ``?mount=<digest>&from=<name>`` asks for, if it was reduced and is now mounted.

    None leaves the request to the upstream, which decides each mount by the caller's rights on both repositories.
    """
    try:
        digest = Digest.parse(query["mount"])
        source = repository.bind(RepositoryName.parse(query.get("from", "")))
    except UsageError:
        return None
    try:
        layer = await source.layer(digest)
        if layer is None:
            return None
        for blob in layer.needed_blobs:
            if not await mount(repository, blob.digest, source.name):
                return None
        # A token delta is of no use here, because the older layer that it refers to lies in the source.
        await repository.put_layer(replace(layer, token_delta=None))
    except Refused as refusal:
        logs.event("mount-refused", repository=str(repository), source=str(source), status=refusal.status)
        return None
    return digest


async def mount(repository: Repository, digest: Digest, source: RepositoryName) -> bool:
    """Whether one blob was mounted; a session that the upstream opened instead is given up."""
    location = await repository.mount_blob(digest, source)
    if location is not None:
        await repository.cancel_upload(location)
    return location is None
