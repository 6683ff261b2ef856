"""The composition root: every part is made here, once, and handed to those that need it.

Reading order: `build` (the parts), `RegistryApi` (which part answers what). What happens around each request is in
`sidecar.middleware.observed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.config import Config, Policy, Role
from reducto.oci import routes
from reducto.oci.credentials import DockerCredentials
from reducto.oci.tokens import AuthenticatedTransport
from sidecar.api.exchange import CALL, Call
from sidecar.api.listings import Listings
from sidecar.api.manifests import Manifests
from sidecar.api.passthrough import Passthrough
from sidecar.cache.base_corpora import BaseCorpora
from sidecar.cache.blobs import BlobCache
from sidecar.cache.corpora import Corpora
from sidecar.cache.idle_queue import Waiting
from sidecar.cache.recently_served import Served
from sidecar.codec.adapter import ReductoCodec
from sidecar.codec.interface import Codec
from sidecar.control.port import Health, build_control, disk_check
from sidecar.embedded.store import EmbeddedUpstream
from sidecar.middleware.observed import name_request, observed
from sidecar.pull.blobs import Pull
from sidecar.pull.decoders import Layers
from sidecar.pull.rebuild import Rebuilds
from sidecar.pull.token_reuse import Precedents
from sidecar.push.commit import Keeper
from sidecar.push.encoding import Encoding
from sidecar.push.mounts import Mounts
from sidecar.push.replicas import Replicas
from sidecar.push.sessions import Upload, UploadSessions
from sidecar.push.uploads import Push, StartEncoding
from sidecar.records.protection import Seal, seal_of
from sidecar.records.store import RecordStore
from sidecar.runtime import logs
from sidecar.runtime.activity import Activity
from sidecar.runtime.atomic import OwnedDirectory
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.similarity.candidates import Relatives, UploadReferences
from sidecar.similarity.hook_index import HookIndex, MemoryHookIndex, RocksHookIndex
from sidecar.similarity.redis_index import RedisHookIndex
from sidecar.upstream.base import Upstream
from sidecar.upstream.client import RegistryClient
from sidecar.upstream.registry import RegistryUpstream


@dataclass(slots=True)
class Sidecar:
    """All parts of a running sidecar. Maintenance commands use the same parts without the ports."""

    config: Config
    offload: Offload
    metrics: Metrics
    health: Health
    upstream: Upstream
    client: RegistryClient
    codec: Codec
    seal: Seal
    hook_index: HookIndex
    relatives: Relatives
    corpora: Corpora
    records: RecordStore
    layers: Layers
    rebuilds: Rebuilds
    precedents: Precedents
    waiting: Waiting
    manifests: Manifests
    keeper: Keeper
    sessions: UploadSessions
    scratch: OwnedDirectory
    api: RegistryApi
    storage: Upstream
    """The upstream itself, without the service's credentials."""
    start_encoding: StartEncoding
    bases: BaseCorpora
    replicas: Replicas
    activity: Activity = field(default_factory=Activity)
    """The requests on the data port."""

    def data_app(self, middlewares: Sequence[Middleware] = ()) -> web.Application:
        """The registry API's application. ``middlewares`` (limits, audit ...) run inside the request's log line."""
        outermost = observed(self.activity, self.metrics, self.config.limits.body_timeout)
        app = web.Application(middlewares=[outermost, *middlewares], client_max_size=0)
        app.on_response_prepare.append(name_request)
        app.router.add_route("*", "/{path:.*}", self.api.handle)
        return app

    def control_app(self) -> web.Application:
        """The control port's application."""
        return build_control(self.health, self.metrics, self.refresh_gauges)

    def refresh_gauges(self) -> None:
        """Brings those metrics up to date that are looked at rather than counted."""
        self.metrics.queue_depth.set(self.offload.queue_depth)
        self.metrics.spool_bytes.set(self.sessions.spooled_bytes)
        self.metrics.uploads_open.set(len(self.sessions))
        self.metrics.recompression_waiting.set(self.waiting.corpora)
        self.metrics.token_deltas_waiting.set(self.waiting.layers)

    @property
    def busy(self) -> bool:
        """Whether a push or a rebuild is under way."""
        return len(self.sessions) > 0 or self.rebuilds.busy

    async def drop_idle_uploads(self) -> None:
        """Ends upload sessions that nobody touched for too long, here and in the upstream."""
        for upload in await self.sessions.expire():
            await self.client.abandon_upload(upload.caller, upload.location)

    async def save_hints(self) -> None:
        """Writes down what the process after this one is spared by it."""
        await self.precedents.save()
        if (data := self.waiting.changes()) is not None:
            await self.offload.io(self.waiting.write, data)

    async def close(self) -> None:
        """Ends everything and leaves nothing in the spool."""
        await self.corpora.stop()
        await self.sessions.close()
        await self.rebuilds.close()
        await self.precedents.close()
        await self.save_hints()
        await self.upstream.close()
        await self.replicas.close()
        await self.offload.io(self.corpora.close)
        await self.offload.io(self.hook_index.close)
        await self.offload.io(self.scratch.close)
        await asyncio.to_thread(self.offload.close)


MakeCodec = Callable[[Config, Offload, Path], Codec]


def reducto_codec(config: Config, offload: Offload, scratch: Path) -> Codec:
    """The real codec, whose inner work runs beside the workers that call it."""
    return ReductoCodec(config, offload.submit, scratch)


async def build(config: Config, make_codec: MakeCodec = reducto_codec, seal: Seal | None = None) -> Sidecar:
    """All parts, wired. Opens no port. The caller awaits `Sidecar.close`."""
    offload, metrics, health = Offload(config.compression.workers or None), Metrics(), Health()
    if seal is None:
        seal = cast(Seal, await offload.io(seal_of, config))
    storage, base = await _upstream(config, offload, metrics)
    upstream = await _authenticated(storage, config, offload)
    client = RegistryClient(upstream, offload, metrics)
    cache_dir = config.cache.dir
    hook_index = await offload.io(_hook_index, config.dedupe.index, cache_dir / "hooks")
    relatives = Relatives(hook_index, config.dedupe.scope)
    scratch = await offload.io(OwnedDirectory, config.spool.dir)
    codec = make_codec(config, offload, scratch.path)
    corpora = Corpora(cache_dir / "corpora", config.cache.max_size, codec, client, seal, offload, metrics)
    blobs = BlobCache(cache_dir / "blobs", config.cache.max_size, offload, metrics)
    rebuilds = Rebuilds(blobs, scratch.path, config.limits.rebuilds, corpora.empty, offload, metrics)
    records = RecordStore(client, relatives, seal, offload, metrics)
    layers = Layers(client, corpora, codec, seal, offload)
    served = Served(cache_dir / "served.json")
    precedents = Precedents(served, blobs, records, layers, corpora, codec, offload)
    passthrough = Passthrough(upstream, base, offload)
    mounts = Mounts(client, records)
    recompresses = config.enabled and config.recompression.enabled and config.role is Role.ORIGIN
    waiting = Waiting(cache_dir / "waiting.json", recompresses)
    keeper = Keeper(client, records, relatives, corpora, mounts, waiting, seal, config.policy, offload, metrics)
    replicas = await offload.io(Replicas, config, offload)
    sessions = UploadSessions(scratch.path, config.spool, config.limits, offload, metrics, replicas.mark)
    manifests = Manifests(passthrough, client, records, config.policy, config.limits.manifest_size, offload)
    encode_gate = asyncio.Semaphore(config.limits.encodes)

    def start_encoding(upload: Upload) -> Encoding | None:
        if not config.enabled or config.role is Role.EDGE:
            return None
        ready = asyncio.create_task(records.scan(upload.caller, upload.repository))
        references = UploadReferences(upload.caller, upload.repository, relatives, corpora, codec, ready, offload)
        return Encoding(
            upload.spool,
            lambda: codec.encoder(references, scratch.path),
            config.gate.min_blob_size,
            encode_gate,
            offload,
            metrics,
        )

    prefer_records = config.role is Role.EDGE or config.policy is Policy.REPLACE
    api = RegistryApi(
        passthrough,
        Push(passthrough, client, sessions, mounts, keeper, start_encoding, offload),
        Pull(passthrough, records, layers, rebuilds, precedents, offload, metrics, prefer_records),
        manifests,
        Listings(passthrough, client, records, offload),
        replicas,
    )
    health.checks["upstream"] = _upstream_check(upstream)
    health.checks["spool"] = disk_check(str(scratch.path), config.spool.min_free, offload)
    bases = BaseCorpora(config, corpora, offload)
    health.checks["corpora"] = bases.check
    await bases.load()
    await offload.io(corpora.restore)
    await offload.io(blobs.restore)
    await offload.io(served.restore)
    await offload.io(waiting.restore)
    return Sidecar(
        config, offload, metrics, health, upstream, client, codec, seal, hook_index, relatives, corpora, records,
        layers, rebuilds, precedents, waiting, manifests, keeper, sessions, scratch, api, storage, start_encoding,
        bases, replicas,
    )  # fmt: skip


class RegistryApi:
    """Which part answers what."""

    def __init__(
        self,
        passthrough: Passthrough,
        push: Push,
        pull: Pull,
        manifests: Manifests,
        listings: Listings,
        replicas: Replicas,
    ) -> None:
        self._passthrough = passthrough
        self._push = push
        self._pull = pull
        self._manifests = manifests
        self._listings = listings
        self._replicas = replicas

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer to any request on the data port."""
        call = request[CALL]
        return await self._handler(call)(call)

    def _handler(self, call: Call) -> Callable[[Call], Awaitable[web.StreamResponse]]:
        match call.route, call.method:
            case routes.BlobAt(), "GET" | "HEAD":
                return self._pull
            case routes.BlobAt(), "DELETE":
                return self._manifests.delete_layer
            case routes.Uploads(), "POST":
                return self._push.open
            case routes.UploadAt(), _ if self._replicas.elsewhere(call):
                return self._replicas.forward
            case routes.UploadAt(), "PATCH":
                return self._push.append
            case routes.UploadAt(), "PUT":
                return self._push.finish
            case routes.UploadAt(), "GET" | "HEAD":
                return self._push.status
            case routes.UploadAt(), "DELETE":
                return self._push.cancel
            case routes.ManifestAt(), "GET" | "HEAD":
                return self._manifests.get
            case routes.ManifestAt(), "PUT":
                return self._manifests.put
            case routes.ManifestAt(), "DELETE":
                return self._manifests.delete
            case routes.Tags(), "GET" | "HEAD":
                return self._listings.tags
            case routes.Referrers(), "GET" | "HEAD":
                return self._listings.referrers
        return self._passthrough


async def _upstream(config: Config, offload: Offload, metrics: Metrics) -> tuple[Upstream, str]:
    """The upstream, and the address that clients must not be sent to."""
    url = config.upstream.url
    if url.startswith(("http://", "https://")):
        return RegistryUpstream(config.upstream, offload, metrics), url.rstrip("/")
    root = await offload.io(Path(url).expanduser)
    return await offload.io(EmbeddedUpstream, root, offload), ""


async def _authenticated(storage: Upstream, config: Config, offload: Offload) -> Upstream:
    """The upstream on which the service's own requests show ``upstream.credentials_file``, if there is one."""
    file, url = config.upstream.credentials_file, config.upstream.url
    if file is None or not url.startswith(("http://", "https://")):
        return storage
    credentials = await offload.io(DockerCredentials.load, file)
    credential = await offload.io(credentials.find, urlsplit(url).netloc)
    return AuthenticatedTransport(storage, url, credential, ("pull", "push", "delete"))


def _hook_index(url: str, folder: Path) -> HookIndex:
    if url:
        return RedisHookIndex(url)
    try:
        return RocksHookIndex(folder)
    except Exception as error:  # another process has it, or it is damaged: it is only a hint
        logs.event("hook-index-in-memory", reason=str(error)[:200])
        return MemoryHookIndex()


def _upstream_check(upstream: Upstream) -> Callable[[], Awaitable[str]]:
    async def check() -> str:
        await upstream.ping()
        return ""

    return check
