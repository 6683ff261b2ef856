"""Nothing that identifies a caller leaves the origin that it was meant for: every header, on every way out."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from aiohttp import web

from reducto.oci.http import HttpTransport
from reducto.oci.origin import Origin, origin_of
from reducto.oci.registry_errors import UpstreamBroken
from reducto.oci.transport import Caller, RegistryRequest
from tests.oci.conftest import Certificate, OpenTransport, StartServer
from tests.oci.servers import Seen, Server, redirect

SECRET = "s3cret"
#: What a client's request may bring along beside its credentials.
IDENTIFYING = (
    *("Authorization", "Cookie", "Proxy-Authorization", "X-JFrog-Art-Api", "Private-Token", "X-Api-Key"),
    *("X-Auth-Token", "Forwarded", "X-Forwarded-For", "X-Real-IP", "X-Registry-Auth"),
    *("Referer", "From", "Origin", "X-Custom"),
)  # fmt: skip
CALLER = Caller(f"Bearer {SECRET}", f"request-{SECRET}", f"10.1.2.3-{SECRET}", f"agent/{SECRET}")
WANTED = {"Range": "bytes=0-9", "Accept": "application/x", "If-None-Match": '"etag"', "Content-Type": "text/plain"}
HEADERS = {name: SECRET for name in IDENTIFYING if name != "Authorization"} | WANTED


async def ask(transport: HttpTransport, method: str, target: str, **more: object) -> int:
    request = RegistryRequest(method, target, CALLER, HEADERS, **more)  # type: ignore[arg-type]
    async with await transport.send(request) as answer:
        await answer.read(1 << 20)
        return answer.status


def ok(_: web.Request) -> web.Response:
    return web.Response(text="content")


def check_told_everything(seen: Seen) -> None:
    for name in IDENTIFYING:
        assert SECRET in seen.headers[name], name
    assert SECRET in seen.headers["User-Agent"]


def check_told_nothing(seen: Seen) -> None:
    for name, value in seen.headers.items():
        assert SECRET not in value, name
    assert SECRET not in seen.path
    for name in set(WANTED) - {"Content-Type"}:
        assert seen.headers[name] == WANTED[name]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/v2/x/blobs/sha256:0", "/v2/x/manifests/latest", "/v2/x/tags/list", "/v2/_catalog"])
async def test_redirects_of_reads(
    method: str, status: int, path: str, start: StartServer, transport_to: OpenTransport
) -> None:
    registry, storage = await start(), await start(Server(ok))
    registry.answer = redirect(f"{storage.url}/bucket?signature=1", status)
    assert await ask(transport_to(registry.url), method, path) == 200
    check_told_everything(registry.seen[0])
    check_told_nothing(storage.seen[0])


@pytest.mark.parametrize("method", ["PATCH", "PUT", "GET", "DELETE", "POST"])
async def test_uploads_elsewhere_work_without_credentials(
    method: str, start: StartServer, transport_to: OpenTransport
) -> None:
    registry, storage = await start(), await start(Server(ok))
    body = None if method in ("GET", "DELETE") else b"content"
    status = await ask(transport_to(registry.url), method, f"{storage.url}/upload/1?digest=x", body=body)
    assert (status, storage.seen[0].body, storage.seen[0].path) == (200, body or b"", "/upload/1?digest=x")
    check_told_nothing(storage.seen[0])


async def test_the_same_origin_is_told_everything(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(ok))
    transport = transport_to(registry.url)
    registry.answer = lambda request: ok(request) if request.path == "/there" else redirect("/there")(request)  # type: ignore[assignment,return-value]
    assert await ask(transport, "GET", "/v2/x/blobs/sha256:0") == 200
    assert await ask(transport, "PUT", f"{registry.url}/there", body=b"") == 200
    assert len(registry.seen) == 3
    for seen in registry.seen:
        check_told_everything(seen)


async def test_another_name_of_the_same_machine_is_another_origin(
    start: StartServer, transport_to: OpenTransport
) -> None:
    registry = await start()
    registry.answer = lambda request: (
        ok(request) if request.path == "/there" else redirect(f"http://localhost:{registry.port}/there")(request)  # type: ignore[return-value]
    )
    assert await ask(transport_to(registry.url), "GET", "/v2/x/blobs/sha256:0") == 200
    check_told_nothing(registry.seen[1])


async def test_who_was_left_is_told_nothing_on_the_way_back(start: StartServer, transport_to: OpenTransport) -> None:
    registry, storage = await start(), await start()
    registry.answer = lambda request: (
        ok(request) if request.path == "/admin" else redirect(f"{storage.url}/away")(request)  # type: ignore[return-value]
    )
    storage.answer = redirect(f"{registry.url}/admin")
    assert await ask(transport_to(registry.url), "GET", "/v2/x/blobs/sha256:0") == 200
    assert registry.paths == ["GET /v2/x/blobs/sha256:0", "GET /admin"]
    check_told_nothing(registry.seen[1])


async def test_credentials_in_an_address_are_sent_to_nobody(start: StartServer, transport_to: OpenTransport) -> None:
    registry, storage = await start(), await start(Server(ok))
    registry.answer = redirect(f"http://user:{SECRET}@127.0.0.1:{storage.port}/away")
    assert await ask(transport_to(registry.url), "GET", "/v2/x/blobs/sha256:0") == 200
    assert await ask(transport_to(registry.url), "PUT", f"http://u:{SECRET}@127.0.0.1:{storage.port}/up") == 200
    for seen in storage.seen:
        check_told_nothing(seen)


async def test_another_server_is_asked_with_credentials_only_where_that_is_said(
    start: StartServer, transport_to: OpenTransport
) -> None:
    registry, tokens, other = await start(), await start(Server(ok)), await start(Server(ok))
    transport = transport_to(registry.url)
    assert await ask(transport, "GET", f"{tokens.url}/token", elsewhere=True) == 200
    check_told_everything(tokens.seen[0])
    tokens.answer = redirect(f"{other.url}/token")
    assert await ask(transport, "GET", f"{tokens.url}/token", elsewhere=True) == 307
    assert other.seen == registry.seen == []
    tokens.answer = lambda request: ok(request) if request.path == "/new" else redirect("/new")(request)  # type: ignore[assignment,return-value]
    assert await ask(transport, "GET", f"{tokens.url}/token", elsewhere=True) == 200


async def test_a_client_certificate_is_shown_to_the_registry_alone(
    start: StartServer, transport_to: OpenTransport, make_certificate: Callable[[str], Certificate]
) -> None:
    mine, theirs = make_certificate("client"), make_certificate("server")
    shown: dict[str, bool] = {}

    def noting(name: str, answer: Callable[[web.Request], object]) -> Callable[[web.Request], object]:
        def handle(request: web.Request) -> object:
            assert request.transport is not None
            shown[name] = bool(request.transport.get_extra_info("peercert"))
            return answer(request)

        return handle

    context = theirs.server_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(mine.certificate)
    storage = await start(Server(noting("storage", ok), context))  # type: ignore[arg-type]
    registry = await start(Server(tls=context))
    registry.answer = noting("registry", redirect(f"{storage.url}/away"))  # type: ignore[assignment]
    transport = transport_to(
        registry.url,
        ca_file=theirs.certificate,
        client_certificate_file=mine.certificate,
        client_key_file=mine.key,
    )
    assert await ask(transport, "GET", "/v2/x/blobs/sha256:0") == 200
    assert shown == {"registry": True, "storage": False}


@pytest.mark.parametrize("location", ["ftp://other/x", "file:///etc/passwd", "http://[::1/", "http://h:99999/"])
async def test_an_address_that_cannot_be_asked_is_the_registrys_fault(
    location: str, start: StartServer, transport_to: OpenTransport
) -> None:
    registry = await start(Server(redirect(location)))
    with pytest.raises(UpstreamBroken, match="cannot be asked"):
        await ask(transport_to(registry.url), "GET", "/v2/x/blobs/sha256:0")


@pytest.mark.parametrize("target", ["*", "@other.example/", "v2/x", ""])
async def test_a_target_that_is_no_path_reaches_nobody(
    target: str, start: StartServer, transport_to: OpenTransport
) -> None:
    registry = await start(Server(ok))
    with pytest.raises(UpstreamBroken):
        await ask(transport_to(registry.url), "GET", target)
    assert registry.seen == []


def test_origins() -> None:
    assert origin_of("HTTPS://Registry.Example/v2/") == Origin("https", "registry.example", 443)
    assert origin_of("https://registry.example:443") == origin_of("https://user@registry.example/x")
    assert origin_of("http://registry.example:443") != origin_of("https://registry.example:443")
    assert str(origin_of("http://[::1]:5000/x")) == "http://[::1]:5000"
    assert str(origin_of("https://h:443")) == "https://h"
    for text in ("registry.example", "/v2/", "ftp://h", "http://", "http://h:x", "http://h:99999"):
        with pytest.raises(ValueError, match=r"."):
            origin_of(text)
