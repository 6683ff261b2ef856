"""Hands each request to the part that answers it. `sidecar.middleware.observed` is what surrounds each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from reducto.oci import routes
from sidecar.api.exchange import CALL
from sidecar.api.listings import Listings
from sidecar.api.manifests import Manifests
from sidecar.api.passthrough import Passthrough
from sidecar.pull.blob_pulls import BlobPulls
from sidecar.push.blob_uploads import BlobUploads
from sidecar.push.replicas import Replicas
from sidecar.records.repository import Repositories

UploadHandler = Callable[..., Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class RegistryApi:
    """The registry API. Each request goes to the part that answers it, with its repository bound to its caller."""

    repositories: Repositories
    passthrough: Passthrough
    uploads: BlobUploads
    pulls: BlobPulls
    manifests: Manifests
    listings: Listings
    replicas: Replicas

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer to any request on the data port."""
        call = request[CALL]
        bind = self.repositories.bind
        match call.route, call.method:
            case routes.BlobAt(name, digest), "GET" | "HEAD":
                return await self.pulls.get(call, bind(call.caller, name), digest)
            case routes.BlobAt(name, digest), "DELETE":
                return await self.manifests.delete_layer(call, bind(call.caller, name), digest)
            case routes.Uploads(name), "POST":
                return await self.uploads.open(call, bind(call.caller, name))
            case routes.UploadAt(name, session_id), method:
                if self.replicas.elsewhere(call, session_id):
                    return await self.replicas.forward(call, session_id)
                handler = self._upload_handler(method)
                if handler is not None:
                    return await handler(call, bind(call.caller, name), session_id)
            case routes.ManifestAt(name, reference), "GET" | "HEAD":
                return await self.manifests.get(call, bind(call.caller, name), reference)
            case routes.ManifestAt(name, reference), "PUT":
                return await self.manifests.put(call, bind(call.caller, name), reference)
            case routes.ManifestAt(name, reference), "DELETE":
                return await self.manifests.delete(call, bind(call.caller, name), reference)
            case routes.Tags(), "GET" | "HEAD":
                return await self.listings.tags(call)
            case routes.Referrers(name), "GET" | "HEAD":
                return await self.listings.referrers(call, bind(call.caller, name))
        return await self.passthrough(call)

    def _upload_handler(self, method: str) -> UploadHandler | None:
        """The handler for requests to an open upload with this method; None for an unknown method."""
        uploads = self.uploads
        return {
            "PATCH": uploads.append,
            "PUT": uploads.finish,
            "GET": uploads.status,
            "HEAD": uploads.status,
            "DELETE": uploads.cancel,
        }.get(method)
