"""Credentials for work that no client asked for: maintenance, idle recompression.

`ServiceUpstream` adds them to requests of the service itself, never to a client's. Where the registry challenges for a
bearer token, it fetches one from the realm that the challenge names (distribution's token specification).
"""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from reducto.errors import UsageError
from reducto.oci.errors import Unavailable
from sidecar.upstream.base import Caller, StreamBody, Upstream, UpstreamRequest, UpstreamResponse

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_REPOSITORY = re.compile(r"/v2/(.+?)/(?:manifests|blobs|tags|referrers)/")
_TOKEN_LIMIT_BYTES = 1 << 20
_EARLY_SECONDS = 20.0


class ServiceUpstream:
    """An upstream on which requests without credentials are made with the service's own."""

    def __init__(self, inner: Upstream, basic: str | None) -> None:
        self._inner = inner
        self._basic = basic
        self._tokens: dict[str, tuple[str, float]] = {}

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """As the inner upstream, with credentials."""
        if self._basic is None or not request.caller.service:
            return await self._inner.send(request)
        scope = _scope(request.target)
        token = self._tokens.get(scope)
        held = token[0] if token and token[1] > time.monotonic() else self._basic
        answer = await self._inner.send(_with(request, held))
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status != 401 or not challenge.lower().startswith("bearer") or isinstance(request.body, StreamBody):
            return answer
        await answer.close()
        return await self._inner.send(_with(request, await self._fetch_token(challenge, scope)))

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()

    async def _fetch_token(self, challenge: str, scope: str) -> str:
        parameters = dict(_PARAMETER.findall(challenge))
        query = [("service", parameters.get("service", ""))]
        # The challenge names only what this one request needs; asking for all of it saves a token per method.
        for wanted in (scope or parameters.get("scope", "")).split(" "):
            if wanted:
                query.append(("scope", wanted))
        realm = parameters.get("realm", "")
        target = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        request = UpstreamRequest("GET", target, Caller(), {"Authorization": self._basic or ""})
        async with await self._inner.send(request) as answer:
            if answer.status != 200:
                raise Unavailable(f"the token service at {urlsplit(realm).netloc} answers {answer.status}")
            document: dict[str, Any] = json.loads(await answer.read(_TOKEN_LIMIT_BYTES))
        token = f"Bearer {document.get('token') or document.get('access_token')}"
        seconds = float(document.get("expires_in") or 60)
        self._tokens[scope] = token, time.monotonic() + seconds - min(_EARLY_SECONDS, seconds / 2)
        return token


def basic_credentials(file: Path | None, registry_url: str) -> str | None:
    """The Authorization value for the registry from a docker ``config.json``. Raises `UsageError`."""
    if file is None:
        return None
    host = urlsplit(registry_url).netloc
    try:
        auths = json.loads(file.read_text()).get("auths", {})
        for name, entry in auths.items():
            if name.removeprefix("https://").removeprefix("http://").split("/")[0] != host:
                continue
            if "auth" in entry:
                return f"Basic {entry['auth']}"
            pair = f"{entry['username']}:{entry['password']}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"upstream.credentials_file {file} cannot be used: {error}") from error
    return None


def _scope(target: str) -> str:
    found = _REPOSITORY.match(urlsplit(target).path)
    return f"repository:{found[1]}:pull,push,delete" if found else "registry:catalog:*"


def _with(request: UpstreamRequest, authorization: str) -> UpstreamRequest:
    return replace(request, caller=replace(request.caller, authorization=authorization))
