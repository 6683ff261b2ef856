"""The HTTP transport: what is tried again, which address a target means, and what goes through a proxy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from multidict import CIMultiDict

from reducto.oci.http import HttpTransport
from reducto.oci.registry_errors import Unavailable, UpstreamBroken
from reducto.oci.retry import RetryPolicy
from reducto.oci.transport import Body, Caller, ConnectionCut, FileBody, RegistryRequest, RegistryResponse, StreamBody
from reducto.values import ByteRange
from tests.oci.conftest import Certificate, OpenTransport, StartServer
from tests.oci.servers import Answer, Server, redirect

WHO = Caller()


async def ask(transport: HttpTransport, method: str, target: str, body: Body | None = None) -> tuple[int, bytes]:
    async with await transport.send(RegistryRequest(method, target, WHO, body=body)) as answer:
        return answer.status, await answer.read(1 << 20)


def failing(count: int, status: int, headers: dict[str, str] | None = None) -> Answer:
    """Answers ``status`` so many times, then 200."""
    left = [count]

    def answer(_: web.Request) -> web.Response:
        left[0] -= 1
        return web.Response(status=status, headers=headers) if left[0] >= 0 else web.Response(text="good")

    return answer


# -- what is tried again


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_gateways_failures_pass_where_nothing_is_done_twice(
    status: int, start: StartServer, transport_to: OpenTransport
) -> None:
    registry = await start()
    transport = transport_to(registry.url)
    for method, target in (("GET", "/v2/x/blobs/y"), ("HEAD", "/v2/x/blobs/y"), ("PUT", "/v2/x/manifests/v1")):
        registry.answer = failing(2, status)
        assert (await ask(transport, method, target))[0] == 200
    for method, target in (("POST", "/v2/x/blobs/uploads/"), ("PUT", "/v2/x/blobs/uploads/1"), ("DELETE", "/v2/x")):
        registry.answer = failing(1, status)
        assert (await ask(transport, method, target))[0] == status


@pytest.mark.parametrize("status", [429, 500, 401, 404])
async def test_other_answers_are_the_clients_to_see(
    status: int, start: StartServer, transport_to: OpenTransport
) -> None:
    registry = await start(Server(failing(1, status, {"Retry-After": "1"})))
    assert (await ask(transport_to(registry.url), "GET", "/v2/x"))[0] == status
    assert len(registry.seen) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_patient_transport_repeats_whatever_it_can_send_again(
    method: str, status: int, start: StartServer, transport_to: OpenTransport, tmp_path: Path
) -> None:
    registry = await start(Server(failing(2, status)))
    file = tmp_path / "body"
    file.write_bytes(b"0123456789")
    body = None if method == "GET" else FileBody(file, ByteRange(2, 8))
    assert await ask(transport_to(registry.url, patient=True), method, "/v2/x", body) == (200, b"good")
    assert [one.body for one in registry.seen] == [b"" if body is None else b"234567"] * 3


async def test_a_stream_is_sent_once(start: StartServer, transport_to: OpenTransport) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"once"

    registry = await start(Server(failing(1, 503)))
    transport = transport_to(registry.url, patient=True)
    assert (await ask(transport, "PUT", "/v2/x/manifests/v1", StreamBody(pieces(), 4)))[0] == 503
    assert [one.body for one in registry.seen] == [b"once"]


@pytest.mark.parametrize("as_date", [False, True])
async def test_retry_after_is_kept_to(as_date: bool, start: StartServer, transport_to: OpenTransport) -> None:
    wanted = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if as_date else "1"
    registry = await start(Server(failing(1, 429, {"Retry-After": wanted})))
    started = time.monotonic()
    assert (await ask(transport_to(registry.url, patient=True), "GET", "/v2/x"))[0] == 200
    assert time.monotonic() - started > 0.9


async def test_a_pause_that_is_too_long_is_not_waited_for(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(failing(1, 429, {"Retry-After": "3600"})))
    assert (await ask(transport_to(registry.url, patient=True), "GET", "/v2/x"))[0] == 429
    assert len(registry.seen) == 1


async def test_who_does_not_answer_is_unavailable(start: StartServer, transport_to: OpenTransport) -> None:
    with pytest.raises(Unavailable, match="does not answer: ClientConnectorError"):
        await ask(transport_to("http://127.0.0.1:9"), "GET", "/v2/x")

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    registry = await start(Server(hang))
    impatient = transport_to(registry.url, read_timeout_seconds=0.05, retries=RetryPolicy(2, 0.01))
    with pytest.raises(Unavailable, match="Timeout"):
        await ask(impatient, "GET", "/v2/x")
    assert len(registry.seen) == 2


async def test_a_body_that_ends_early_is_a_cut_connection(start: StartServer, transport_to: OpenTransport) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.abort()
        return response

    registry = await start(Server(cut))
    with pytest.raises(ConnectionCut):
        await ask(transport_to(registry.url), "GET", "/v2/x")


async def test_what_is_no_http_is_the_registrys_fault(transport_to: OpenTransport) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((UpstreamBroken, Unavailable)):
            await ask(transport_to(f"http://127.0.0.1:{port}", retries=RetryPolicy(1, 0.0)), "GET", "/v2/x")


async def test_a_refused_certificate_is_refused_at_once(
    start: StartServer, transport_to: OpenTransport, make_certificate: Callable[[str], Certificate]
) -> None:
    registry = await start(Server(failing(0, 200), make_certificate("registry").server_context()))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="Certificate"):
        await ask(transport_to(registry.url, retries=RetryPolicy(3, 5.0)), "GET", "/v2/x")
    assert time.monotonic() - started < 4.0


# -- addresses


@pytest.mark.parametrize("prefix", ["", "/art", "/a/b"])
async def test_targets_of_every_form(prefix: str, start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(failing(0, 200)))
    transport = transport_to(registry.url + prefix + ("/" if prefix else ""))
    upload = f"{prefix}/v2/x/blobs/uploads/1?_state=a%2Fb%3D"
    for target in (
        "/v2/x/blobs/uploads/1?_state=a%2Fb%3D",
        f"{registry.url}{upload}",
        f"{registry.url}/v2/x/blobs/uploads/1?_state=a%2Fb%3D",  # from a registry that does not know of the path
    ):
        assert (await ask(transport, "GET", target))[0] == 200
    assert [one.path for one in registry.seen] == [upload] * 3
    assert (await ask(transport, "GET", f"{registry.url}/elsewhere"))[0] == 200
    assert registry.seen[-1].path == "/elsewhere"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("{url}/art/v2/x/blobs/uploads/2?s=1", "{url}/art/v2/x/blobs/uploads/2?s=1"),
        ("/art/v2/x/blobs/uploads/2", "{url}/art/v2/x/blobs/uploads/2"),
        ("//127.0.0.1:{port}/art/v2/x/blobs/uploads/2", "{url}/art/v2/x/blobs/uploads/2"),
        ("2?s=a%2Fb", "{url}/art/v2/x/blobs/uploads/2?s=a%2Fb"),
        ("../uploads/2", "{url}/art/v2/x/blobs/uploads/2"),
        ("?s=1", "{url}/art/v2/x/blobs/uploads/?s=1"),
    ],
)
async def test_locations_of_every_form(
    location: str, expected: str, start: StartServer, transport_to: OpenTransport
) -> None:
    registry = await start()
    names = {"url": registry.url, "port": str(registry.port)}
    registry.answer = lambda _: web.Response(status=202, headers={"Location": location.format(**names)})
    transport = transport_to(f"{registry.url}/art")
    async with await transport.send(RegistryRequest("POST", "/v2/x/blobs/uploads/", WHO)) as answer:
        assert answer.location == expected.format(**names)


async def test_a_location_below_a_redirect_is_relative_to_who_answered(
    start: StartServer, transport_to: OpenTransport
) -> None:
    registry = await start()
    registry.answer = lambda request: (
        redirect("/moved/list?p=1")(request)  # type: ignore[return-value]
        if request.path.startswith("/v2")
        else web.Response(headers={"Link": "<list?p=2>; rel=next"})
    )
    async with await transport_to(registry.url).send(RegistryRequest("GET", "/v2/x/tags/list", WHO)) as answer:
        assert answer.next_page == f"{registry.url}/moved/list?p=2"
        assert answer.asked == f"GET {registry.url}/moved/list"


async def test_a_plain_address_of_a_registry_with_tls_means_its_own(
    start: StartServer, transport_to: OpenTransport, make_certificate: Callable[[str], Certificate]
) -> None:
    """Behind a proxy that ends TLS a registry may believe that it speaks HTTP."""
    certificate = make_certificate("registry")
    registry = await start(Server(failing(0, 200), certificate.server_context()))
    transport = transport_to(registry.url, ca_file=certificate.certificate)
    for target in (f"http://127.0.0.1:{registry.port}/upload/1", "http://127.0.0.1/upload/1"):
        request = RegistryRequest("PUT", target, Caller("Bearer mine"), body=b"")
        async with await transport.send(request) as answer:
            assert answer.status == 200
        assert registry.seen[-1].headers["Authorization"] == "Bearer mine"


async def test_redirects_end(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(redirect("/v2/again")))
    assert (await ask(transport_to(registry.url), "GET", "/v2/x"))[0] == 307
    assert len(registry.seen) == 6
    assert (await ask(transport_to(registry.url), "PUT", "/v2/x/manifests/v1", b""))[0] == 307


async def test_one_accept_field(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(failing(0, 200)))
    headers = CIMultiDict([("Accept", "a/b"), ("accept", "c/d;q=0.5"), ("ACCEPT", "e/f, g/h")])
    async with await transport_to(registry.url).send(RegistryRequest("GET", "/v2/x", WHO, headers)) as answer:
        assert answer.status == 200
    assert registry.seen[0].headers.getall("Accept") == ["a/b, c/d;q=0.5, e/f, g/h"]


@pytest.mark.parametrize("length", ["-5", "1_0", "\u0661", "9" * 30, "+3", "x"])
def test_a_length_that_is_none(length: str) -> None:
    assert RegistryResponse(200, CIMultiDict({"Content-Length": length})).length is None


# -- proxies


async def test_the_users_proxy_is_used_where_that_is_said(
    start: StartServer, transport_to: OpenTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy, registry = await start(Server(failing(0, 200))), await start(Server(failing(0, 200)))
    monkeypatch.setenv("http_proxy", proxy.url)
    assert (await ask(transport_to(registry.url), "GET", "/v2/x"))[0] == 200
    assert (len(registry.seen), len(proxy.seen)) == (1, 0)
    patient = transport_to("http://registry.example", environment_proxies=True)
    assert (await ask(patient, "GET", "/v2/x"))[0] == 200
    assert proxy.seen[0].headers["Host"] == "registry.example"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert (await ask(transport_to(registry.url, environment_proxies=True), "GET", "/v2/x"))[0] == 200
    assert (len(registry.seen), len(proxy.seen)) == (2, 1)
