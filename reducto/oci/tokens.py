"""Answers a registry's challenges: basic authentication, and tokens as the distribution specification has them.

`AuthenticatedTransport` adds credentials to requests of the program's own, never to a client's. Where the registry asks
for a bearer token, it is fetched from the token server that the challenge names, and kept for its scope.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from reducto.oci.challenge import Challenge, parse_challenges
from reducto.oci.credentials import Credential
from reducto.oci.origin import origin_of
from reducto.oci.registry_errors import Unavailable, UpstreamBroken
from reducto.oci.transport import Caller, RegistryRequest, RegistryResponse, StreamBody, Transport

_REPOSITORY = re.compile(r"/v2/(.+)/(?:manifests/|blobs/|tags/list|referrers/)")
_TOKEN = re.compile(r"[!-~]+")
_TOKEN_LIMIT_BYTES = 1 << 20
#: A token is renewed so long before its end, or half its life before if that is shorter.
_EARLY_SECONDS = 20.0
#: The specification's life of a token that does not say its own.
_DEFAULT_SECONDS = 60.0
_CLIENT_ID = "reducto"
#: Repositories whose tokens are kept; beyond, those go whose token has expired.
_GRANTS_LIMIT = 1000


@dataclass(slots=True)
class _Grant:
    """What was asked for one resource of the registry so far, and the token that was given for it."""

    actions: dict[str, set[str]] = field(default_factory=dict)
    """Actions by type and name of the resource (``repository:team/app``)."""
    authorization: str = field(default="", repr=False)
    good_until: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def usable(self) -> str | None:
        return self.authorization if time.monotonic() < self.good_until else None

    @property
    def scopes(self) -> list[str]:
        return [f"{resource}:{','.join(sorted(actions))}" for resource, actions in sorted(self.actions.items())]

    def widen(self, scope: str) -> None:
        """Adds the actions of a challenge's scope, so that one token serves every method that was used."""
        for each in scope.split():
            resource, _, actions = each.rpartition(":")
            if resource:
                self.actions.setdefault(resource, set()).update(filter(None, actions.split(",")))


class AuthenticatedTransport:
    """A transport on which the program's own requests (`Caller.service`) are made with a credential.

    Without one, tokens are asked for as nobody in particular, which is how public repositories are read.
    """

    def __init__(
        self,
        inner: Transport,
        registry_url: str,
        credential: Credential | None = None,
        actions: Sequence[str] = (),
    ) -> None:
        """``actions`` are asked for with every repository's token beside those that the registry names, which saves a
        token for each further method."""
        self._inner = inner
        self._registry_url = registry_url
        self._credential = credential or Credential()
        self._actions = tuple(actions)
        self._grants: dict[str, _Grant] = {}
        self._always: str | None = None
        """What the registry takes for every request, once it asked for basic authentication."""

    async def send(self, request: RegistryRequest) -> RegistryResponse:
        """As the inner transport, with credentials. Raises as `send`, and `Unavailable` without a token."""
        if not request.caller.service or request.caller.authorization is not None:
            return await self._inner.send(request)
        grant = self._grant(request.target)
        authorization = self._always or grant.usable
        if authorization is None and isinstance(request.body, StreamBody):
            # A body that can be sent once must not meet the first challenge.
            probe = RegistryRequest("GET", "/v2/", request.caller)
            async with await self._inner.send(probe) as answer:
                authorization = await self._answer(answer, grant, None)
        answer = await self._inner.send(_with(request, authorization))
        if isinstance(request.body, StreamBody):
            return answer
        renewed = await self._answer(answer, grant, authorization)
        if renewed is None:
            return answer
        await answer.close()
        return await self._inner.send(_with(request, renewed))

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()

    def _grant(self, target: str) -> _Grant:
        """What is known of the repository that a target lies in."""
        found = _REPOSITORY.search(unquote(urlsplit(target).path))
        resource = f"repository:{found[1]}" if found else ""
        if len(self._grants) > _GRANTS_LIMIT:
            self._grants = {name: each for name, each in self._grants.items() if each.usable}
        grant = self._grants.setdefault(resource, _Grant())
        if found and self._actions:
            grant.actions.setdefault(resource, set()).update(self._actions)
        return grant

    async def _answer(self, answer: RegistryResponse, grant: _Grant, refused: str | None) -> str | None:
        """The authorization with which a request that was sent with ``refused`` is worth repeating, or None."""
        if answer.status != 401 or not self._is_registry(answer.url):
            return None
        challenges = parse_challenges(answer.headers.getall("WWW-Authenticate", ()))
        bearer = next((each for each in challenges if each.scheme == "bearer"), None)
        if bearer is not None:
            return await self._bearer(bearer, grant, refused)
        if any(each.scheme == "basic" for each in challenges):
            self._always = self._credential.basic
        return self._always if self._always != refused else None

    def _is_registry(self, url: str) -> bool:
        """Whether the registry itself answered. Another origin, to which it redirected, may ask for nothing."""
        return not url or origin_of(url) == origin_of(self._registry_url)

    async def _bearer(self, challenge: Challenge, grant: _Grant, refused: str | None) -> str | None:
        if token := self._credential.registry_token:
            return f"Bearer {token}" if refused is None else None
        async with grant.lock:
            if grant.usable not in (None, refused):
                return grant.authorization  # another request has fetched one meanwhile
            grant.widen(challenge.parameters.get("scope", ""))
            document = await self._ask(challenge.parameters, grant.scopes)
            given = document.get("token") or document.get("access_token")
            if not isinstance(given, str) or _TOKEN.fullmatch(given) is None:
                raise UpstreamBroken(f"the token server at {urlsplit(challenge.parameters['realm']).netloc} gives none")
            seconds = _life_seconds(document.get("expires_in"))
            grant.authorization = f"Bearer {given}"
            grant.good_until = time.monotonic() + seconds - min(_EARLY_SECONDS, seconds / 2)
            return grant.authorization

    async def _ask(self, parameters: Any, scopes: list[str]) -> dict[str, Any]:
        """The token server's document. Raises `Unavailable`, `UpstreamBroken`."""
        realm, service = parameters.get("realm", ""), parameters.get("service", "")
        if problem := realm_problem(realm, self._registry_url):
            where = realm.rpartition("@")[2][:200]
            raise UpstreamBroken(f"the registry names a token server that is not asked, because {problem}: {where}")
        named = [("service", service)] if service else []
        if self._credential.identity_token:
            request = self._exchange(realm, named, scopes)
        else:
            query = urlencode(named + [("scope", scope) for scope in scopes])
            target = f"{realm}{'&' if '?' in realm else '?'}{query}" if query else realm
            request = RegistryRequest("GET", target, Caller(authorization=self._credential.basic), elsewhere=True)
        async with await self._inner.send(request) as answer:
            if answer.status != 200:
                raise Unavailable(f"the token server at {urlsplit(realm).netloc} answers {answer.status}")
            content = await answer.read(_TOKEN_LIMIT_BYTES)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise UpstreamBroken(f"the token server at {urlsplit(realm).netloc} answers something else than JSON")
        if isinstance(renewed := document.get("refresh_token"), str) and self._credential.identity_token:
            self._credential = replace(self._credential, identity_token=renewed)
        return document

    def _exchange(self, realm: str, named: list[tuple[str, str]], scopes: list[str]) -> RegistryRequest:
        """An identity token for a bearer token (the token specification's OAuth2 form)."""
        form = [
            ("grant_type", "refresh_token"),
            ("client_id", _CLIENT_ID),
            ("refresh_token", self._credential.identity_token),
            *named,
            ("scope", " ".join(scopes)),
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return RegistryRequest("POST", realm, Caller(), headers, urlencode(form).encode(), elsewhere=True)


def realm_problem(realm: str, registry_url: str) -> str:
    """Why the token server that a challenge names must not be asked; empty when it may be."""
    try:
        origin = origin_of(realm)
    except ValueError:
        return "its address is not an http or https one"
    if "@" in urlsplit(realm).netloc:
        return "its address holds a user's name"
    if origin.scheme == "http" and origin_of(registry_url).scheme == "https":
        return "credentials for a registry with TLS would go there in the clear"
    return ""


def _life_seconds(value: Any) -> float:
    """How long a token lives. The specification's default stands for what is missing or makes no sense."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9:
        return float(value)
    return _DEFAULT_SECONDS


def _with(request: RegistryRequest, authorization: str | None) -> RegistryRequest:
    return replace(request, caller=replace(request.caller, authorization=authorization))
