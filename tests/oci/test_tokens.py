"""The token flow against real servers: what is asked of whom, how often, and with which credentials."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.parse
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from reducto.oci.credentials import Credential
from reducto.oci.registry_errors import Unavailable, UpstreamBroken
from reducto.oci.tokens import AuthenticatedTransport
from reducto.oci.transport import Caller, RegistryRequest, StreamBody
from tests.oci.conftest import Certificate, OpenTransport, StartServer
from tests.oci.servers import Server, redirect

ALICE = Credential("alice", "wonderland")
BASIC = f"Basic {base64.b64encode(b'alice:wonderland').decode()}"
OWN = Caller(service=True)
MANIFEST, BLOB = "/v2/team/app/manifests/v1", "/v2/team/app/blobs/sha256:0"


class TokenRegistry:
    """A registry that takes bearer tokens, and the token server beside it."""

    def __init__(self, registry: Server, tokens: Server) -> None:
        self.registry, self.tokens = registry, tokens
        self.life: Any = 300
        self.more: dict[str, Any] = {}
        self.given: dict[str, list[str]] = {}
        self.field = f'Bearer realm="{tokens.url}/token",service="test",scope="{{scope}}"'
        registry.answer, tokens.answer = self.serve, self.give

    def serve(self, request: web.Request) -> web.Response:
        action = "pull" if request.method in ("GET", "HEAD") else "push"
        name = request.path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]
        scope = f"repository:{name}:pull" + (",push" if action == "push" else "")
        shown = self.given.get(request.headers.get("Authorization", ""), [])
        granted = {
            a for each in shown if each.startswith(f"repository:{name}:") for a in each.split(":")[-1].split(",")
        }
        if request.path != "/v2/" and action in granted:
            return web.Response(status=200, text="content")
        return web.Response(status=401, headers={"WWW-Authenticate": self.field.format(scope=scope)})

    def give(self, request: web.Request) -> web.Response:
        token = f"token{len(self.given)}"
        self.given[f"Bearer {token}"] = request.query.getall("scope", [])
        document = {"token": token, **({"expires_in": self.life} if self.life is not None else {}), **self.more}
        return web.json_response(document)

    def transport(self, transport_to: OpenTransport, credential: Credential | None = ALICE) -> AuthenticatedTransport:
        return AuthenticatedTransport(transport_to(self.registry.url), self.registry.url, credential)


@pytest.fixture
async def guarded(start: StartServer) -> TokenRegistry:
    return TokenRegistry(await start(), await start())


async def ask(transport: AuthenticatedTransport, method: str, target: str, **more: Any) -> int:
    async with await transport.send(RegistryRequest(method, target, more.pop("caller", OWN), **more)) as answer:
        await answer.read(1 << 20)
        return answer.status


def scopes(server: Server) -> list[list[str]]:
    return [urllib.parse.parse_qs(urllib.parse.urlsplit(one.path).query).get("scope", []) for one in server.seen]


async def test_a_token_serves_until_more_is_needed(guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    transport = guarded.transport(transport_to)
    for method, target in (("GET", MANIFEST), ("GET", BLOB), ("PUT", MANIFEST), ("GET", BLOB), ("PUT", MANIFEST)):
        assert await ask(transport, method, target, body=b"x" if method == "PUT" else None) == 200
    assert scopes(guarded.tokens) == [["repository:team/app:pull"], ["repository:team/app:pull,push"]]
    assert [one.headers["Authorization"] for one in guarded.tokens.seen] == [BASIC, BASIC]
    assert "Basic" not in " ".join(one.headers.get("Authorization", "") for one in guarded.registry.seen)
    assert len(guarded.registry.seen) == 5 + 2
    assert "service=test" in guarded.tokens.seen[0].path


async def test_actions_given_beforehand_save_a_token_per_method(
    guarded: TokenRegistry, transport_to: OpenTransport
) -> None:
    inner = transport_to(guarded.registry.url)
    transport = AuthenticatedTransport(inner, guarded.registry.url, ALICE, ("pull", "push", "delete"))
    assert await ask(transport, "GET", MANIFEST) == 200
    assert await ask(transport, "PUT", MANIFEST, body=b"x") == 200
    assert scopes(guarded.tokens) == [["repository:team/app:delete,pull,push"]]


async def test_repositories_have_tokens_of_their_own(guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    transport = guarded.transport(transport_to)
    for target in (MANIFEST, "/v2/other/manifests/v1", BLOB, "/v2/other/blobs/sha256:0"):
        assert await ask(transport, "GET", target) == 200
    assert scopes(guarded.tokens) == [["repository:team/app:pull"], ["repository:other:pull"]]


async def test_many_requests_at_once_ask_for_one_token(guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    transport = guarded.transport(transport_to)
    assert await asyncio.gather(*(ask(transport, "GET", BLOB) for _ in range(20))) == [200] * 20
    assert len(guarded.tokens.seen) == 1


async def test_an_old_token_is_renewed_before_and_after_it_is_refused(
    guarded: TokenRegistry, transport_to: OpenTransport
) -> None:
    guarded.life = 0.2
    transport = guarded.transport(transport_to)
    assert await ask(transport, "GET", BLOB) == 200
    await asyncio.sleep(0.15)
    assert await ask(transport, "GET", BLOB) == 200
    assert len(guarded.tokens.seen) == 2
    guarded.life = 300
    guarded.given.clear()
    assert await ask(transport, "GET", BLOB) == 200
    guarded.given.clear()  # revoked, although it should have lived on
    assert await ask(transport, "GET", BLOB) == 200
    assert len(guarded.tokens.seen) == 4


@pytest.mark.parametrize("life", [None, "soon", 0, -5, 1e300, True])
async def test_a_token_without_a_sensible_life_lives_for_a_minute(
    life: Any, guarded: TokenRegistry, transport_to: OpenTransport
) -> None:
    guarded.life = life
    transport = guarded.transport(transport_to)
    for _ in range(3):
        assert await ask(transport, "GET", BLOB) == 200
    assert len(guarded.tokens.seen) == 1


async def test_nobody_in_particular_gets_tokens_too(guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    assert await ask(guarded.transport(transport_to, None), "GET", BLOB) == 200
    assert "Authorization" not in guarded.tokens.seen[0].headers


async def test_a_client_is_never_given_the_services_credentials(
    guarded: TokenRegistry, transport_to: OpenTransport
) -> None:
    transport = guarded.transport(transport_to)
    assert await ask(transport, "GET", BLOB, caller=Caller()) == 401
    assert await ask(transport, "GET", BLOB, caller=Caller("Bearer of-a-client")) == 401
    assert guarded.tokens.seen == []


async def test_an_identity_token_is_exchanged(guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    forms: list[dict[str, list[str]]] = []

    async def exchange(request: web.Request) -> web.Response:
        form = urllib.parse.parse_qs((await request.read()).decode())
        forms.append(form)
        token = f"token{len(forms)}"
        guarded.given[f"Bearer {token}"] = form["scope"][0].split()
        return web.json_response({"access_token": token, "refresh_token": f"refresh{len(forms)}", "expires_in": 300})

    guarded.tokens.answer = exchange
    transport = guarded.transport(transport_to, Credential(identity_token="refresh0"))
    assert await ask(transport, "GET", BLOB) == 200
    assert await ask(transport, "PUT", MANIFEST, body=b"x") == 200
    assert [form["refresh_token"] for form in forms] == [["refresh0"], ["refresh1"]], "a new one replaces the old"
    assert forms[0]["grant_type"] == ["refresh_token"]
    assert forms[0]["service"] == ["test"]
    assert [one.method for one in guarded.tokens.seen] == ["POST", "POST"]
    assert all("Authorization" not in one.headers for one in guarded.tokens.seen)


async def test_a_registry_token_needs_no_token_server(guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    guarded.given["Bearer mine"] = ["repository:team/app:pull"]
    transport = guarded.transport(transport_to, Credential(registry_token="mine"))
    assert await ask(transport, "GET", BLOB) == 200
    assert await ask(transport, "PUT", MANIFEST, body=b"x") == 401
    assert guarded.tokens.seen == []


async def test_a_body_that_can_be_sent_once_is_sent_with_a_token(
    guarded: TokenRegistry, transport_to: OpenTransport
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one piece"

    inner = transport_to(guarded.registry.url)
    transport = AuthenticatedTransport(inner, guarded.registry.url, ALICE, ("pull", "push"))
    target = "/v2/team/app/blobs/uploads/1"
    guarded.registry.answer = lambda request: (
        web.Response(status=201) if request.method == "PATCH" else guarded.serve(request)
    )
    assert await ask(transport, "PATCH", target, body=StreamBody(pieces(), 9)) == 201
    sent = guarded.registry.seen[-1]
    assert sent.body == b"one piece"
    assert sent.headers["Authorization"] in guarded.given


async def test_basic_authentication(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start()
    registry.answer = lambda request: web.Response(
        status=200 if request.headers.get("Authorization") == BASIC else 401,
        headers={"WWW-Authenticate": 'Negotiate, BASIC charset="UTF-8", realm="a, b"'},
    )
    transport = AuthenticatedTransport(transport_to(registry.url), registry.url, ALICE)
    assert [await ask(transport, "GET", BLOB) for _ in range(3)] == [200] * 3
    assert len(registry.seen) == 4
    wrong = AuthenticatedTransport(transport_to(registry.url), registry.url, Credential("alice", "looking-glass"))
    assert await ask(wrong, "GET", BLOB) == 401
    assert await ask(AuthenticatedTransport(transport_to(registry.url), registry.url), "GET", BLOB) == 401
    assert len(registry.seen) == 4 + 2 + 1


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
async def test_a_token_server_that_refuses_is_named(
    status: int, guarded: TokenRegistry, transport_to: OpenTransport
) -> None:
    guarded.tokens.answer = lambda _: web.Response(status=status)
    with pytest.raises(Unavailable, match=rf"token server at 127\.0\.0\.1:{guarded.tokens.port} answers {status}"):
        await ask(guarded.transport(transport_to), "GET", BLOB)


@pytest.mark.parametrize(
    "body", ["", "no JSON", "[]", "{}", '{"token": 5}', '{"token": ""}', '{"token": "a\\r\\nX: y"}', "[" * 100_000]
)
async def test_what_is_no_token(body: str, guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    guarded.tokens.answer = lambda _: web.Response(text=body)
    with pytest.raises(UpstreamBroken, match="token server"):
        await ask(guarded.transport(transport_to), "GET", BLOB)


# -- where credentials may go


async def test_a_redirect_of_the_token_server_gets_no_credentials(
    guarded: TokenRegistry, start: StartServer, transport_to: OpenTransport
) -> None:
    other = await start(Server(lambda _: web.json_response({"token": "stolen"})))
    for credential in (ALICE, Credential(identity_token="refresh"), None):
        guarded.tokens.answer = redirect(f"{other.url}/token")
        with pytest.raises(Unavailable, match="answers 307"):
            await ask(guarded.transport(transport_to, credential), "GET", BLOB)
    assert other.seen == []
    moved = guarded.give
    guarded.tokens.answer = lambda request: (
        moved(request)
        if request.path == "/new"
        else web.Response(status=307, headers={"Location": f"/new?{request.query_string}"})
    )
    assert await ask(guarded.transport(transport_to), "GET", BLOB) == 200
    assert guarded.tokens.seen[-1].headers["Authorization"] == BASIC


async def test_a_plain_realm_of_a_registry_with_tls_is_not_asked(
    start: StartServer, transport_to: OpenTransport, make_certificate: Callable[[str], Certificate]
) -> None:
    certificate = make_certificate("registry")
    registry = await start(Server(tls=certificate.server_context()))
    tokens = await start(Server(lambda _: web.json_response({"token": "x"})))
    registry.answer = lambda _: web.Response(
        status=401, headers={"WWW-Authenticate": f'Bearer realm="{tokens.url}/token"'}
    )
    for credential in (ALICE, Credential(identity_token="refresh"), None):
        inner = transport_to(registry.url, ca_file=certificate.certificate)
        with pytest.raises(UpstreamBroken, match="in the clear"):
            await ask(AuthenticatedTransport(inner, registry.url, credential), "GET", BLOB)
    assert tokens.seen == []


@pytest.mark.parametrize("user", ["user@", "user:word@", ":word@", "@"])
async def test_a_realm_with_a_user_is_not_asked(user: str, guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    guarded.field = f'Bearer realm="http://{user}127.0.0.1:{guarded.tokens.port}/token"'
    with pytest.raises(UpstreamBroken, match="user's name") as caught:
        await ask(guarded.transport(transport_to), "GET", BLOB)
    assert "word" not in str(caught.value)
    assert guarded.tokens.seen == []


@pytest.mark.parametrize("realm", ["", "/token", "token.example/token", "ftp://x/", "http://", "javascript:alert(1)"])
async def test_a_realm_that_is_no_address(realm: str, guarded: TokenRegistry, transport_to: OpenTransport) -> None:
    guarded.field = f'Bearer realm="{realm}"'
    with pytest.raises(UpstreamBroken, match="not an http"):
        await ask(guarded.transport(transport_to), "GET", BLOB)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_challenges_of_another_origin_are_not_met(
    scheme: str, start: StartServer, transport_to: OpenTransport
) -> None:
    registry, storage = await start(), await start()
    registry.answer = redirect(f"{storage.url}/away")
    storage.answer = lambda _: web.Response(
        status=401, headers={"WWW-Authenticate": f'{scheme} realm="{storage.url}/token"'}
    )
    transport = AuthenticatedTransport(transport_to(registry.url), registry.url, ALICE)
    assert await ask(transport, "GET", BLOB) == 401
    assert await ask(transport, "PUT", f"{storage.url}/upload", body=b"x") == 401
    assert storage.paths == ["GET /away", "PUT /upload"]
    assert all("Authorization" not in one.headers for one in storage.seen)


async def test_an_upload_elsewhere_gets_no_token(
    guarded: TokenRegistry, start: StartServer, transport_to: OpenTransport
) -> None:
    storage = await start(Server(lambda _: web.Response(status=201)))
    transport = guarded.transport(transport_to)
    assert await ask(transport, "POST", "/v2/team/app/blobs/uploads/", body=b"") == 200
    assert await ask(transport, "PUT", f"{storage.url}/v2/team/app/blobs/uploads/1", body=b"x") == 201
    assert "Authorization" not in storage.seen[0].headers
    assert json.dumps([dict(one.headers) for one in storage.seen]).count("token") == 0
