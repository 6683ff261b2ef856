"""Listings: tags without our own, referrers with originals in place of records. The catalog passes through."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from multidict import CIMultiDict

from reducto.errors import UsageError
from reducto.oci.errors import ManifestInvalid
from reducto.oci.manifest import Manifest, descriptor_of
from reducto.values import Digest
from sidecar.api.exchange import Call, client_headers
from sidecar.api.passthrough import Passthrough
from sidecar.records.format import IMAGE_TYPE, INDEX_TYPE, ImageRecord, IndexRecord
from sidecar.records.repository import Repository
from sidecar.records.tags import RECORD_TAG_PREFIX
from sidecar.upstream.base import UpstreamResponse
from sidecar.upstream.client import Refused, next_page, read_json

_LISTING_LIMIT_BYTES = 64 << 20
_PAGES_LIMIT = 1000


class Listings:
    """Answers ``tags/list`` and ``referrers``."""

    def __init__(self, passthrough: Passthrough) -> None:
        self._passthrough = passthrough

    async def tags(self, call: Call) -> web.StreamResponse:
        """The client's own tags. Pages are as long as asked for, although records lie between them."""
        count = call.query.get("n", "")
        wanted = int(count) if count.isdecimal() and len(count) < 10 else None
        request = call.upstream_request()
        collected: list[str] = []
        for _ in range(_PAGES_LIMIT):
            async with await self._passthrough.send(request) as answer:
                document = await _json_of(answer)
                if document is None:
                    return await self._passthrough.relay(call, answer)
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
        return _tag_page(call.route.path, document, collected, wanted, following is not None, headers)

    async def referrers(self, call: Call, repository: Repository) -> web.StreamResponse:
        """The manifests that name a subject; those stored as records appear as what they were."""
        kinds = call.request.query.getall("artifactType", [])
        request = call.upstream_request()
        unfiltered = replace(request, target=_without_filter(request.target))
        async with await self._passthrough.send(unfiltered) as answer:
            document = await _json_of(answer)
            headers = client_headers(answer, self._passthrough.base)
        items = (document or {}).get("manifests") or []
        if document is None or not any(item.get("artifactType") in (IMAGE_TYPE, INDEX_TYPE) for item in items):
            return await self._passthrough(call)
        shown = [await _shown(repository, item) for item in items]
        if kinds:
            shown = [item for item in shown if item.get("artifactType") in kinds]
            headers["OCI-Filters-Applied"] = "artifactType"
        document["manifests"] = shown
        return web.Response(status=200, body=json.dumps(document).encode(), headers=headers)


def _tag_page(
    path: str,
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
        headers["Link"] = f'<{path}?{query}>; rel="next"'
    body = json.dumps({**document, "tags": page}).encode()
    headers.pop("Content-Length", None)
    return web.Response(status=200, body=body, headers=headers)


def _without_filter(target: str) -> str:
    path, _, query = target.partition("?")
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key != "artifactType"]
    return f"{path}?{urlencode(kept)}" if kept else path


async def _shown(repository: Repository, item: dict[str, Any]) -> dict[str, Any]:
    """An entry of the upstream's referrers list as the client may see it: a record's is the original's."""
    if item.get("artifactType") not in (IMAGE_TYPE, INDEX_TYPE):
        return item
    try:
        found = await repository.record(Digest.parse(item["digest"]))
        if found is None or not isinstance(found.record, ImageRecord | IndexRecord):
            return item
        manifest = Manifest.parse(found.record.original, found.record.media_type)
    except (Refused, ManifestInvalid, UsageError, KeyError):
        return item
    described = {"mediaType": manifest.media_type, "digest": str(found.record.digest)}
    return manifest.as_referrer(descriptor_of({**described, "size": len(found.record.original)}))


async def _json_of(answer: UpstreamResponse) -> dict[str, Any] | None:
    """The document of a successful answer; None for any other, which is still unread. Raises `UpstreamBroken`."""
    return await read_json(answer, _LISTING_LIMIT_BYTES) if answer.status == 200 else None
