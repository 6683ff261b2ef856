"""Listings: tags without our own, referrers with originals in place of records. The catalog passes through."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from multidict import CIMultiDict

from reducto.errors import UsageError
from reducto.oci import routes
from reducto.oci.errors import ManifestInvalid, UpstreamBroken
from reducto.oci.manifest import Manifest, descriptor_of
from reducto.values import Digest
from sidecar.api.exchange import Call, client_headers, relay
from sidecar.api.passthrough import Passthrough
from sidecar.records.format import IMAGE_TYPE, INDEX_TYPE, ImageRecord, IndexRecord
from sidecar.records.store import RecordStore
from sidecar.records.tags import RECORD_TAG_PREFIX
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import UpstreamResponse
from sidecar.upstream.client import Refused, RegistryClient, next_page

_LISTING_LIMIT_BYTES = 64 << 20
_PAGES_LIMIT = 1000


class Listings:
    """Answers ``tags/list`` and ``referrers``."""

    def __init__(
        self, passthrough: Passthrough, client: RegistryClient, records: RecordStore, offload: Offload
    ) -> None:
        self._passthrough = passthrough
        self._client = client
        self._records = records
        self._offload = offload

    async def tags(self, call: Call) -> web.StreamResponse:
        """The client's own tags. Pages are as long as asked for, although records lie between them."""
        route = call.route
        assert isinstance(route, routes.Tags)
        count = call.query.get("n", "")
        wanted = int(count) if count.isdecimal() and len(count) < 10 else None
        request = call.upstream_request()
        collected: list[str] = []
        for _ in range(_PAGES_LIMIT):
            async with await self._passthrough.upstream.send(request) as answer:
                document = await _json_of(answer)
                if document is None:
                    return await relay(call, answer, self._passthrough.base, self._offload)
                headers = client_headers(answer, self._passthrough.base)
                following = next_page(answer, request.target)
            tags = document.get("tags") or []
            collected += [tag for tag in tags if not tag.startswith(RECORD_TAG_PREFIX)]
            if wanted is not None and len(tags) > wanted:
                wanted = None  # a registry without paging: a Link of ours would lead in a circle
            # Go on where filtering left less than was asked for, or nothing of a page that was full of records.
            if following is None or (len(collected) >= wanted if wanted is not None else bool(collected)):
                break
            request = replace(request, target=following)
        assert document is not None
        return _tag_page(route, document, collected, wanted, following is not None, headers)

    async def referrers(self, call: Call) -> web.StreamResponse:
        """The manifests that name a subject; those stored as records appear as what they were."""
        route = call.route
        assert isinstance(route, routes.Referrers)
        kinds = call.request.query.getall("artifactType", [])
        request = call.upstream_request()
        unfiltered = replace(request, target=_without_filter(request.target))
        async with await self._passthrough.upstream.send(unfiltered) as answer:
            document = await _json_of(answer)
            headers = client_headers(answer, self._passthrough.base)
        items = (document or {}).get("manifests") or []
        if not any(item.get("artifactType") in (IMAGE_TYPE, INDEX_TYPE) for item in items):
            return await self._passthrough(call)
        assert document is not None
        shown = [await self._shown(call, route, item) for item in items]
        if kinds:
            shown = [item for item in shown if item.get("artifactType") in kinds]
            headers["OCI-Filters-Applied"] = "artifactType"
        document["manifests"] = shown
        return web.Response(status=200, body=json.dumps(document).encode(), headers=headers)

    async def _shown(self, call: Call, route: routes.Referrers, item: dict[str, Any]) -> dict[str, Any]:
        if item.get("artifactType") not in (IMAGE_TYPE, INDEX_TYPE):
            return item
        try:
            found = await self._client.get_manifest(call.caller, route.repository, Digest.parse(item["digest"]))
            held = await self._records.parse(call.caller, route.repository, found) if found else None
            if held is None or not isinstance(held.record, ImageRecord | IndexRecord):
                return item
            manifest = Manifest.parse(held.record.original, held.record.media_type)
        except (Refused, ManifestInvalid, UsageError, KeyError):
            return item
        described = {"mediaType": manifest.media_type, "digest": str(held.record.digest)}
        return manifest.as_referrer(descriptor_of({**described, "size": len(held.record.original)}))


def _tag_page(
    route: routes.Tags,
    document: dict[str, Any],
    tags: list[str],
    wanted: int | None,
    more: bool,
    headers: CIMultiDict[str],
) -> web.Response:
    page = tags if wanted is None else tags[:wanted]
    headers.pop("Link", None)
    if page and (more or len(page) < len(tags)):
        query = urlencode({"n": wanted, "last": page[-1]} if wanted is not None else {"last": page[-1]})
        headers["Link"] = f'<{route.path}?{query}>; rel="next"'
    body = json.dumps({**document, "tags": page}).encode()
    headers.pop("Content-Length", None)
    return web.Response(status=200, body=body, headers=headers)


def _without_filter(target: str) -> str:
    path, _, query = target.partition("?")
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key != "artifactType"]
    return f"{path}?{urlencode(kept)}" if kept else path


async def _json_of(answer: UpstreamResponse) -> dict[str, Any] | None:
    """The document of a successful answer; None for any other, which is still unread. Raises `UpstreamBroken`."""
    if answer.status != 200:
        return None
    try:
        document = json.loads(await answer.read(_LISTING_LIMIT_BYTES))
    except ValueError as error:
        raise UpstreamBroken("the upstream's listing is not JSON") from error
    if not isinstance(document, dict):
        raise UpstreamBroken("the upstream's listing is not a JSON object")
    return document
