"""Cross-repository mounts of layers that are stored reduced. Instead of the layer, the blobs that its record names are
mounted, and the record is stored in the target repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reducto.errors import UsageError
from reducto.oci.names import RepositoryName
from reducto.oci.registry_errors import Refused
from reducto.values import Digest
from sidecar.records.repository import Repository
from sidecar.runtime import logs


async def mount_reduced(repository: Repository, query: Mapping[str, str]) -> Digest | None:
    """Mounts the layer of ``?mount=<digest>&from=<name>`` if it is stored reduced there; returns its digest.

    None if the layer was not mounted; the caller then forwards the request. The upstream decides each mount by the
    caller's rights on both repositories.
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
        # The token delta is left out, because the older layer that it refers to lies in the source repository.
        await repository.put_layer(replace(layer, token_delta=None))
    except Refused as refusal:
        logs.event("mount-refused", repository=str(repository), source=str(source), status=refusal.status)
        return None
    return digest


async def mount(repository: Repository, digest: Digest, source: RepositoryName) -> bool:
    """Mounts one blob; returns whether that worked. A session that the upstream opened instead is cancelled."""
    location = await repository.mount_blob(digest, source)
    if location is not None:
        await repository.cancel_upload(location)
    return location is None
