"""Listings: tags without record tags, and referrers with original manifests in place of their records.

The catalog is forwarded unchanged.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from reducto.errors import UsageError
from reducto.oci.client import read_json
from reducto.oci.manifest import Manifest, descriptor_of
from reducto.oci.registry_errors import ManifestInvalid, Refused
from reducto.oci.transport import RegistryResponse
from reducto.values import Digest
from sidecar.api.exchange import Call, client_headers
from sidecar.api.passthrough import Passthrough
from sidecar.api.tag_pages import TagPage
from sidecar.records.format import IMAGE_TYPE, INDEX_TYPE, ImageRecord, IndexRecord
from sidecar.records.repository import Repository

_LISTING_LIMIT_BYTES = 64 << 20
_PAGES_LIMIT = 1000


class Listings:
    """Answers ``tags/list`` and ``referrers``."""

    def __init__(self, passthrough: Passthrough) -> None:
        self._passthrough = passthrough

    async def tags(self, call: Call) -> web.StreamResponse:
        """A page of the repository's tags, without record tags."""
        count = call.query.get("n", "")
        wanted = int(count) if count.isdecimal() and len(count) < 10 else None
        page = TagPage(call.route.path, self._passthrough.base, wanted)
        request = call.upstream_request()
        for _ in range(_PAGES_LIMIT):
            async with await self._passthrough.send(request) as answer:
                document = await _json_of(answer)
                if document is None:
                    return await self._passthrough.relay(call, answer)
                headers = client_headers(answer, self._passthrough.base)
                following = answer.next_page
            if not page.take(document.get("tags") or [], request.target, following) or following is None:
                break
            request = replace(request, target=following)
        assert document is not None
        return page.response(document, headers)

    async def referrers(self, call: Call, repository: Repository) -> web.StreamResponse:
        """The manifests that name a subject. A record appears as the original manifest for which it stands."""
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


def _without_filter(target: str) -> str:
    path, _, query = target.partition("?")
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key != "artifactType"]
    return f"{path}?{urlencode(kept)}" if kept else path


async def _shown(repository: Repository, item: dict[str, Any]) -> dict[str, Any]:
    """An entry of the referrers list for the client. The entry of a record becomes that of its original manifest."""
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


async def _json_of(answer: RegistryResponse) -> dict[str, Any] | None:
    """The JSON document of an answer with status 200; None for another answer, whose body stays unread.

    Raises `UpstreamBroken`.
    """
    return await read_json(answer, _LISTING_LIMIT_BYTES) if answer.status == 200 else None
