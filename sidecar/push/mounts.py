"""Cross-repository mounts of layers that are stored reduced: everything their record names is mounted instead."""

from __future__ import annotations

from dataclasses import replace

from reducto.errors import UsageError
from reducto.oci import routes
from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.api.exchange import Call
from sidecar.records.store import RecordStore
from sidecar.runtime import logs
from sidecar.upstream.base import Caller
from sidecar.upstream.client import Refused, RegistryClient


class Mounts:
    """Mounts with the caller's rights on both repositories: the upstream decides each one."""

    def __init__(self, client: RegistryClient, records: RecordStore) -> None:
        self._client = client
        self._records = records

    async def mount_reduced(self, call: Call) -> bool:
        """Whether the blob was reduced and is now mounted. False leaves the request to the upstream."""
        route = call.route
        assert isinstance(route, routes.Uploads)
        try:
            digest = Digest.parse(call.query["mount"])
            source = RepositoryName.parse(call.query.get("from", ""))
        except UsageError:
            return False
        try:
            layer = await self._records.layer(call.caller, source, digest)
            if layer is None:
                return False
            for blob in layer.needed_blobs:
                if not await self.mount(call.caller, route.repository, blob.digest, source):
                    return False
            # What it has in common with an older layer of the source is of no use here.
            await self._records.put_layer(call.caller, route.repository, replace(layer, token_delta=None))
        except Refused as refusal:
            logs.event("mount-refused", repository=str(route.repository), source=str(source), status=refusal.status)
            return False
        return True

    async def mount(self, caller: Caller, repository: RepositoryName, digest: Digest, source: RepositoryName) -> bool:
        """Whether one blob was mounted; a session that the upstream opened instead is given up."""
        location = await self._client.mount_blob(caller, repository, digest, source)
        if location is not None:
            await self._client.cancel_upload(caller, location)
        return location is None
