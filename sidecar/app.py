"""The composition root: every part of the sidecar is made here, once, and handed to the parts that need it.

`build` makes the parts; `sidecar.dispatch` hands requests to them.
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
from reducto.oci.client import RegistryClient
from reducto.oci.credentials import DockerCredentials
from reducto.oci.http import HttpTransport
from reducto.oci.names import RepositoryName
from reducto.oci.tokens import AuthenticatedTransport
from reducto.oci.transport import Caller, Transport
from sidecar.api.listings import Listings
from sidecar.api.manifests import Manifests
from sidecar.api.passthrough import Passthrough
from sidecar.cache.base_corpora import BaseCorpora
from sidecar.cache.blob_cache import BlobCache
from sidecar.cache.corpus_folder import CorpusFolder
from sidecar.cache.idle_queue import IdleQueue
from sidecar.cache.local_corpora import Corpora
from sidecar.cache.recently_served import RecentlyServed
from sidecar.codec.adapter import ReductoCodec
from sidecar.codec.interface import Codec
from sidecar.control.port import Health, build_control, disk_check
from sidecar.dispatch import RegistryApi
from sidecar.embedded.store import EmbeddedUpstream
from sidecar.middleware.observed import name_request, observed
from sidecar.pull.blob_pulls import BlobPulls
from sidecar.pull.decoders import LayerDecoders
from sidecar.pull.rebuild import Rebuilds
from sidecar.pull.restore import BlobRestorer
from sidecar.pull.token_reuse import TokenReuse
from sidecar.push.blob_uploads import BlobUploads, StartEncoding
from sidecar.push.commit import UploadCommitter
from sidecar.push.encoding import Encoding
from sidecar.push.replicas import Replicas
from sidecar.push.sessions import Upload, UploadSessions
from sidecar.push.upload_references import UploadReferences
from sidecar.records.protection import Protector, load_protector
from sidecar.records.repository import Repositories, Repository
from sidecar.runtime import logs
from sidecar.runtime.activity import Activity
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.scratch import ScratchDirectory
from sidecar.runtime.upstream import UpstreamObserver, http_options
from sidecar.similarity.candidates import SimilarCorpora
from sidecar.similarity.hook_index import HookIndex, MemoryHookIndex, RocksHookIndex
from sidecar.similarity.redis_index import RedisHookIndex

#: The caller of maintenance and background work: no client, but the service with its configured credentials.
SERVICE = Caller(user_agent="reducto", service=True)

MakeCodec = Callable[[Config, Offload, Path], Codec]


def reducto_codec(config: Config, offload: Offload, scratch: Path) -> Codec:
    """The codec of `reducto.codec`, which hands parts of its work to inner workers of ``offload``."""
    return ReductoCodec(config, offload.submit, scratch)


@dataclass(slots=True)
class RuntimeParts:
    """The parts on which all other parts run."""

    offload: Offload
    metrics: Metrics
    health: Health
    scratch: ScratchDirectory
    activity: Activity = field(default_factory=Activity)


@dataclass(slots=True)
class UpstreamParts:
    """The registry behind this sidecar."""

    storage: Transport
    """The upstream without the service's credentials."""
    base: str
    """The upstream's own URL, which must not reach clients; empty for the embedded store."""
    transport: Transport
    """The upstream, with the service's credentials for the service's own requests."""
    protector: Protector
    repositories: Repositories


@dataclass(slots=True)
class ReferenceParts:
    """The parts that find and hold the corpora to which new layers may refer."""

    codec: Codec
    hook_index: HookIndex
    similar: SimilarCorpora
    corpora: Corpora
    bases: BaseCorpora


@dataclass(slots=True)
class PushParts:
    """The parts through which a push passes."""

    sessions: UploadSessions
    committer: UploadCommitter
    start_encoding: StartEncoding
    idle_queue: IdleQueue
    replicas: Replicas


@dataclass(slots=True)
class PullParts:
    """The parts through which a pull passes."""

    decoders: LayerDecoders
    rebuilds: Rebuilds
    token_reuse: TokenReuse
    restorer: BlobRestorer


@dataclass(slots=True)
class Sidecar:
    """All parts of a running sidecar. Maintenance commands use the same parts without the ports."""

    config: Config
    runtime: RuntimeParts
    upstream: UpstreamParts
    references: ReferenceParts
    push: PushParts
    pull: PullParts
    api: RegistryApi

    def repository(self, name: RepositoryName) -> Repository:
        """The repository with the service's own rights, for maintenance."""
        return self.upstream.repositories.bind(SERVICE, name)

    def data_app(self, middlewares: Sequence[Middleware] = ()) -> web.Application:
        """The registry API's application. ``middlewares`` (limits, audit log) run inside `observed`, which logs, times
        and counts each request."""
        outer = observed(self.runtime.activity, self.runtime.metrics, self.config.limits.body_timeout)
        app = web.Application(middlewares=[outer, *middlewares], client_max_size=0)
        app.on_response_prepare.append(name_request)
        app.router.add_route("*", "/{path:.*}", self.api.handle)
        return app

    def control_app(self) -> web.Application:
        """The control port's application."""
        return build_control(self.runtime.health, self.runtime.metrics, self.refresh_gauges)

    def refresh_gauges(self) -> None:
        """Sets those metrics that show a present state, such as the number of open uploads."""
        metrics = self.runtime.metrics
        metrics.queue_depth.set(self.runtime.offload.queue_depth)
        metrics.spool_bytes.set(self.push.sessions.spooled_bytes)
        metrics.uploads_open.set(len(self.push.sessions))
        metrics.recompression_waiting.set(self.push.idle_queue.corpora)
        metrics.token_deltas_waiting.set(self.push.idle_queue.layers)

    @property
    def busy(self) -> bool:
        """Whether a push or a rebuild is under way."""
        return len(self.push.sessions) > 0 or self.pull.rebuilds.busy

    async def drop_idle_uploads(self) -> None:
        """Ends upload sessions that were not used for `LimitOptions.upload_idle` seconds, here and in the upstream."""
        for upload in await self.push.sessions.expire():
            await upload.repository.abandon_upload(upload.location)

    async def save_hints(self) -> None:
        """Persists the lists of hints for the next process."""
        await self.pull.token_reuse.save()
        if (data := self.push.idle_queue.changes()) is not None:
            await self.runtime.offload.io(self.push.idle_queue.write, data)

    async def close(self) -> None:
        """Stops all work, closes all parts and removes all spool files."""
        offload = self.runtime.offload
        await self.references.corpora.stop()
        await self.push.sessions.close()
        await self.pull.rebuilds.close()
        await self.pull.token_reuse.close()
        await self.save_hints()
        await self.upstream.transport.close()
        await self.push.replicas.close()
        await offload.io(self.references.corpora.close)
        await offload.io(self.references.hook_index.close)
        await offload.io(self.runtime.scratch.close)
        await asyncio.to_thread(offload.close)


async def build(config: Config, make_codec: MakeCodec = reducto_codec, protector: Protector | None = None) -> Sidecar:
    """Makes all parts and connects them. It opens no port. The caller awaits `Sidecar.close` in the end."""
    offload = Offload(config.compression.workers or None)
    runtime = RuntimeParts(offload, Metrics(), Health(), await offload.io(ScratchDirectory, config.spool.dir))
    hook_index = await offload.io(_hook_index, config.dedupe.index, config.cache.dir / "hooks")
    similar = SimilarCorpora(hook_index, config.dedupe.scope)
    upstream = await _upstream_parts(config, runtime, similar, protector)
    references = _reference_parts(config, runtime, upstream, make_codec, similar)
    pull, blobs = await _pull_parts(config, runtime, upstream, references)
    push = await _push_parts(config, runtime, upstream, references)
    passthrough = Passthrough(upstream.transport, upstream.base, offload)
    api = RegistryApi(
        upstream.repositories,
        passthrough,
        BlobUploads(passthrough, push.sessions, push.committer, push.start_encoding, offload),
        blobs(passthrough),
        Manifests(passthrough, pull.restorer.restore, config.policy, config.limits.manifest_size),
        Listings(passthrough),
        push.replicas,
    )
    checks = runtime.health.checks
    checks["upstream"] = _upstream_check(upstream.transport)
    checks["spool"] = disk_check(str(runtime.scratch.path), config.spool.min_free, offload)
    checks["corpora"] = references.bases.check
    await references.bases.load()
    await offload.io(references.corpora.restore)
    return Sidecar(config, runtime, upstream, references, push, pull, api)


async def _upstream_parts(
    config: Config, runtime: RuntimeParts, similar: SimilarCorpora, protector: Protector | None
) -> UpstreamParts:
    offload = runtime.offload
    if protector is None:
        protector = cast(Protector, await offload.io(load_protector, config))
    url, observer = config.upstream.url, UpstreamObserver(runtime.metrics)
    if url.startswith(("http://", "https://")):
        storage: Transport = HttpTransport(http_options(config.upstream), offload, observer)
        base = url.rstrip("/")
    else:
        root = await offload.io(Path(url).expanduser)
        storage, base = await offload.io(EmbeddedUpstream, root, offload), ""
    transport = await _authenticated(storage, config, offload)
    client = RegistryClient(transport, offload, observer)
    return UpstreamParts(storage, base, transport, protector, Repositories(client, protector, similar.learn, offload))


async def _authenticated(storage: Transport, config: Config, offload: Offload) -> Transport:
    """The upstream on which the service's own requests show ``upstream.credentials_file``, if there is one."""
    file, url = config.upstream.credentials_file, config.upstream.url
    if file is None or not url.startswith(("http://", "https://")):
        return storage
    credentials = await offload.io(DockerCredentials.load, file)
    credential = await offload.io(credentials.find, urlsplit(url).netloc)
    return AuthenticatedTransport(storage, url, credential, ("pull", "push", "delete"))


def _reference_parts(
    config: Config, runtime: RuntimeParts, upstream: UpstreamParts, make_codec: MakeCodec, similar: SimilarCorpora
) -> ReferenceParts:
    codec = make_codec(config, runtime.offload, runtime.scratch.path)
    folder = CorpusFolder(config.cache.dir / "corpora", config.cache.max_size, codec, runtime.metrics)
    corpora = Corpora(folder, codec, upstream.protector, runtime.offload, runtime.metrics)
    return ReferenceParts(codec, similar.index, similar, corpora, BaseCorpora(config, corpora, runtime.offload))


async def _pull_parts(
    config: Config, runtime: RuntimeParts, upstream: UpstreamParts, references: ReferenceParts
) -> tuple[PullParts, Callable[[Passthrough], BlobPulls]]:
    """The parts of a pull, and a function that makes their request handler."""
    offload, metrics, codec, corpora = runtime.offload, runtime.metrics, references.codec, references.corpora
    cache = BlobCache(config.cache.dir / "blobs", config.cache.max_size, offload, metrics)
    rebuilds = Rebuilds(cache, runtime.scratch.path, config.limits.rebuilds, corpora.empty, offload, metrics)
    decoders = LayerDecoders(corpora, codec, upstream.protector, offload)
    recently_served = RecentlyServed(config.cache.dir / "served.json")
    token_reuse = TokenReuse(recently_served, cache, decoders, corpora, codec, offload)
    await offload.io(cache.restore)
    await offload.io(recently_served.restore)
    prefer_records = config.role is Role.EDGE or config.policy is Policy.REPLACE

    def blobs(passthrough: Passthrough) -> BlobPulls:
        return BlobPulls(passthrough, decoders, rebuilds, token_reuse, offload, metrics, prefer_records)

    restorer = BlobRestorer(decoders, runtime.scratch.path, offload)
    return PullParts(decoders, rebuilds, token_reuse, restorer), blobs


async def _push_parts(
    config: Config, runtime: RuntimeParts, upstream: UpstreamParts, references: ReferenceParts
) -> PushParts:
    offload, metrics, similar, corpora = runtime.offload, runtime.metrics, references.similar, references.corpora
    recompresses = config.enabled and config.recompression.enabled and config.role is Role.ORIGIN
    idle_queue = IdleQueue(config.cache.dir / "waiting.json", recompresses)
    await offload.io(idle_queue.restore)
    committer = UploadCommitter(similar, corpora, idle_queue, upstream.protector, config.policy, offload, metrics)
    replicas = await offload.io(Replicas, config, offload)
    scratch = runtime.scratch.path
    sessions = UploadSessions(scratch, config.spool, config.limits, offload, metrics, replicas.mark)
    return PushParts(sessions, committer, _start_encoding(config, runtime, references), idle_queue, replicas)


def _start_encoding(config: Config, runtime: RuntimeParts, references: ReferenceParts) -> StartEncoding:
    """The function that begins to reduce an upload while its bytes arrive."""
    encode_slots = asyncio.Semaphore(config.limits.encodes)
    offload, codec, scratch = runtime.offload, references.codec, runtime.scratch.path

    def start_encoding(upload: Upload) -> Encoding | None:
        if not config.enabled or config.role is Role.EDGE:
            return None
        known = asyncio.create_task(upload.repository.scan())
        found = UploadReferences(upload.repository, references.similar, references.corpora, codec, known, offload)
        return Encoding(
            upload.spool,
            lambda: codec.encoder(found, scratch),
            config.gate.min_blob_size,
            encode_slots,
            offload,
            runtime.metrics,
        )

    return start_encoding


def _hook_index(url: str, folder: Path) -> HookIndex:
    if url:
        return RedisHookIndex(url)
    try:
        return RocksHookIndex(folder)
    except Exception as error:  # Another process uses the folder, or its files are damaged.
        logs.event("hook-index-in-memory", reason=str(error)[:200])
        return MemoryHookIndex()


def _upstream_check(upstream: Transport) -> Callable[[], Awaitable[str]]:
    async def check() -> str:
        await upstream.ping()
        return ""

    return check
