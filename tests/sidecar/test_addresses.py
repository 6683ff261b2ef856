"""Upstreams as they are: below a path, with Locations and Links of every form, with storage on another host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from reducto.oci.manifest import OCI_MANIFEST
from reducto.oci.transport import RegistryResponse
from reducto.values import Digest
from sidecar.api.addresses import own_path, translate
from sidecar.api.tag_pages import TagPage
from tests.oci.servers import Server, redirect, serving
from tests.sidecar.conftest import OpenRig
from tests.sidecar.samples import real_layer
from tests.support.fixtures import StartRegistry
from tests.support.sidecar_rig import Rig

LAYER, NEXT = real_layer(1), real_layer(2)
RECORD = "reducto-sha256-" + "0" * 62
SECRET = "s3cret"

StartServer = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start() -> AsyncIterator[StartServer]:
    async with AsyncExitStack() as stack:

        async def start_one(server: Server | None = None) -> Server:
            return await stack.enter_async_context(serving(server or Server()))

        yield start_one


# -- addresses


@pytest.mark.parametrize(
    ("address", "base", "expected"),
    [
        ("http://r.example/v2/a/tags/list?n=1", "http://r.example", "/v2/a/tags/list?n=1"),
        ("http://r.example/art/v2/a?x=%2F", "http://r.example/art", "/v2/a?x=%2F"),
        ("http://r.example/art/v2", "http://r.example/art", "/v2"),
        ("http://r.example/v2/a", "http://r.example/art", "/v2/a"),
        ("https://inner.example:444/art/v2/a", "http://r.example/art", "/v2/a"),
        ("https://inner.example/v2/a", "http://r.example", "/v2/a"),
        ("http://r.example/art/upload/1?s=2", "http://r.example/art", "/upload/1?s=2"),
        ("http://r.example/upload/1", "http://r.example/art", None),
        ("http://r.example/artful/v2/a", "http://r.example/art", None),
        ("http://storage.example/bucket?v2=/v2/", "http://r.example", None),
        ("ftp://r.example/x", "http://r.example", None),
        ("/v2/a/tags/list?last=b", "", "/v2/a/tags/list?last=b"),
    ],
)
def test_paths_of_the_sidecar(address: str, base: str, expected: str | None) -> None:
    assert own_path(address, base) == expected


def test_headers_for_clients() -> None:
    answer = RegistryResponse(202, CIMultiDict({"Location": "uploads/1?s=a%2Fb"}))
    answer.url = "http://r.example/art/v2/x/blobs/uploads/"
    answer.headers.add("Link", '<?n=1&last=b>; rel="next"')
    answer.headers.add("Link", "<http://docs.example/>; rel=help")
    headers = CIMultiDict(answer.headers)
    translate(headers, answer, "http://r.example/art")
    assert headers["Location"] == "/v2/x/blobs/uploads/uploads/1?s=a%2Fb"
    assert headers.getall("Link") == ['</v2/x/blobs/uploads/?n=1&last=b>; rel="next", <http://docs.example/>; rel=help']


# -- paging


def page_of(wanted: int | None, *pages: tuple[list[str], str | None]) -> tuple[list[str], str]:
    """The client's page, and its Link, from these pages of the upstream with their Links."""
    page, asked = TagPage("/v2/x/tags/list", "http://r.example", wanted), "/v2/x/tags/list"
    for tags, following in pages:
        if not page.take(tags, asked, following):
            break
        asked = str(following)
    response = page.response({"name": "x"}, CIMultiDict())
    assert isinstance(response.body, bytes)

    return json.loads(response.body)["tags"], response.headers.get("Link", "")


LIST = "http://r.example/v2/x/tags/list"


def test_pages_of_an_upstream_that_can_go_on_behind_any_tag() -> None:
    full = (["a", RECORD, "b"], f"{LIST}?n=3&last=b")
    rest = (["c", "d", "e"], f"{LIST}?n=3&last=e")
    assert page_of(3, full, rest) == (["a", "b", "c"], '</v2/x/tags/list?n=3&last=c>; rel="next"')
    assert page_of(None, full, rest) == (["a", "b"], '</v2/x/tags/list?last=b>; rel="next"')
    assert page_of(5, full, (["c"], None)) == (["a", "b", "c"], "")
    assert page_of(2, (["a", "b", "c"], f"{LIST}?last=c"), rest)[0] == ["a", "b", "c"], "it knows no paging"
    assert page_of(2, ([RECORD, RECORD], f"{LIST}?n=2&last={RECORD}"), (["a", "b"], None)) == (["a", "b"], "")


def test_pages_of_an_upstream_with_a_link_of_its_own() -> None:
    first, second = (["a", RECORD, "b"], f"{LIST}?page=t%2F2&n=3"), (["c", "d", "e"], f"{LIST}?page=3")
    last = (["f"], None)
    assert page_of(None, first, second, last) == (["a", "b"], '</v2/x/tags/list?page=t%2F2&n=3>; rel="next"')
    assert page_of(3, first, second, last) == (["a", "b"], '</v2/x/tags/list?page=t%2F2&n=3>; rel="next"')
    assert page_of(5, first, second, last) == (["a", "b", "c", "d", "e"], '</v2/x/tags/list?page=3>; rel="next"')
    assert page_of(9, first, second, last) == (["a", "b", "c", "d", "e", "f"], "")
    records = ([RECORD, RECORD], f"{LIST}?page=2")
    assert page_of(2, records, records, (["a"], f"{LIST}?page=9")) == (["a"], '</v2/x/tags/list?page=9>; rel="next"')
    assert page_of(4, (["a"], f"{LIST}?n=4&last=z"), (["b"], None)) == (["a", "b"], ""), "last is not the page's last"


def test_pages_that_a_client_cannot_ask_for_through_the_sidecar() -> None:
    elsewhere = (["a"], "http://pages.example/t?page=2")
    assert page_of(1, elsewhere, (["b"], "http://r.example/pages/3"), (["c"], None)) == (["a", "b", "c"], "")


@pytest.mark.parametrize("wanted", [None, 4, 10, 100])
@pytest.mark.parametrize(
    "link",
    [
        "<{path}?next_page=tok{next}{n}>; rel=\"next\"",
        "<?{n}next_page=tok{next}>; rel=next",
        "</pages/x?next_page=tok{next}>;rel=next",
    ],
)  # fmt: skip
async def test_a_client_gets_every_tag_once(
    wanted: int | None, link: str, start: StartServer, new_rig: OpenRig
) -> None:
    tags = [f"t{number:02}" for number in range(25)]
    stored = sorted([*tags, *(f"{RECORD}{number:02}" for number in range(30))], key=lambda tag: tag[-2:])

    def answer(request: web.Request) -> web.Response:
        at, count = int(request.query.get("next_page", "tok0")[3:]), int(request.query.get("n", 10))
        following = link.format(path=request.path, next=at + count, n=f"&n={count}&" if "n" in request.query else "")
        headers = {"Link": following} if at + count < len(stored) else {}
        return web.json_response({"name": "x", "tags": stored[at : at + count]}, headers=headers)

    upstream = await start(Server(answer))
    rig = await new_rig(upstream=upstream.url)
    seen: list[str] = []
    target = "/v2/x/tags/list" + (f"?n={wanted}" if wanted else "")
    for _ in range(100):
        page = await rig("GET", target)
        assert page.status == 200
        assert wanted is None or len(page.json["tags"]) <= wanted or "pages" in link
        seen += page.json["tags"]
        if "Link" not in page.headers:
            break
        target = page.headers["Link"].partition(">")[0][1:]
        assert target.startswith("/v2/x/tags/list?")
    assert seen == tags


# -- a registry below a path, behind a gateway that writes Locations in its own way

FORMS: dict[str, Callable[[str, Server], str]] = {
    "absolute": lambda path, gateway: f"{gateway.url}/art{path}",
    "another name": lambda path, gateway: f"http://localhost:{gateway.port}/art{path}",
    "path": lambda path, _: f"/art{path}",
    "path without prefix": lambda path, _: path,
    "network path": lambda path, gateway: f"//127.0.0.1:{gateway.port}/art{path}",
    "relative": lambda path, _: path.rpartition("/uploads/")[2] or path.rpartition("/blobs/")[2],
}


def gateway_to(registry_url: str, form: Callable[[str, Server], str], gateway: Server) -> Server:
    async def forward(request: web.Request) -> web.StreamResponse:
        path = request.raw_path.removeprefix("/art")
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, registry_url + path, headers=headers, data=await request.read(), allow_redirects=False
            ) as answer,
        ):
            kept = CIMultiDict((k, v) for k, v in answer.headers.items() if k not in ("Content-Length", "Date"))
            if location := kept.get("Location"):
                parts = urlsplit(location)
                kept["Location"] = form(parts.path + (f"?{parts.query}" if parts.query else ""), gateway)
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers["Content-Length"]
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    gateway.answer = forward
    return gateway


async def check_everything(rig: Rig) -> None:
    """Push, pull, mount, list, cancel and delete through the sidecar."""
    digest, manifest = await rig.push_image("art/app", "v1", [LAYER, NEXT])
    answer = await rig("GET", "/v2/art/app/manifests/v1")
    assert (answer.status, answer.body) == (200, manifest)
    assert (await rig.get_blob("art/app", Digest.of(NEXT))).body == NEXT
    small = await rig.push_blob("art/app", b"small", pieces=2)
    mounted = await rig("POST", f"/v2/other/blobs/uploads/?mount={small}&from=art/app")
    assert (mounted.status, mounted.headers["Location"]) == (201, f"/v2/other/blobs/{small}")
    assert (await rig.get_blob("other", small)).body == b"small"
    opened = await rig("POST", "/v2/other/blobs/uploads/")
    assert (await rig("DELETE", opened.headers["Location"])).status == 204
    assert (await rig.tags("art/app"), await rig.tags("art/app")) == (["v1"], ["v1"])
    assert (await rig("DELETE", f"/v2/art/app/manifests/{digest}")).status == 202


@pytest.mark.integration
@pytest.mark.parametrize("form", FORMS)
async def test_locations_of_every_form(
    form: str, start: StartServer, start_registry: StartRegistry, new_rig: OpenRig
) -> None:
    registry = await asyncio.to_thread(start_registry, "docker-registry")
    gateway = await start()
    gateway_to(registry.url, FORMS[form], gateway)
    await check_everything(await new_rig(upstream=f"{gateway.url}/art"))
    assert all(seen.path.startswith(("/art/v2/", "/v2/")) for seen in gateway.seen)


@pytest.mark.integration
@pytest.mark.parametrize("relative", [True, False])
async def test_distributions_own_prefix(relative: bool, start_registry: StartRegistry, new_rig: OpenRig) -> None:
    settings = {"http": {"prefix": "/team/art/", "relativeurls": relative}}
    registry = await asyncio.to_thread(start_registry, "docker-registry", settings=settings)
    await check_everything(await new_rig(upstream=f"{registry.url}/team/art/"))


# -- who asks


async def test_storage_on_another_host_is_not_told_who_asks(start: StartServer, new_rig: OpenRig) -> None:
    upstream, storage = await start(), await start(Server(lambda _: web.Response(body=b"content")))
    upstream.answer = lambda request: (
        redirect(f"{storage.url}/bucket?signature=1")(request)  # type: ignore[return-value]
        if request.path.endswith(f"/blobs/{Digest.of(b'content')}")
        else web.Response(status=404)
    )
    names = ("Authorization", "Cookie", "X-JFrog-Art-Api", "Private-Token", "X-Api-Key", "X-Forwarded-For", "X-Real-IP")
    headers = dict.fromkeys((*names, "Forwarded", "User-Agent", "X-Request-Id"), SECRET)
    rig = await new_rig(upstream=upstream.url)
    for _ in ("the record is looked for", "the blob is known to be no record"):
        answer = await rig("GET", f"/v2/app/blobs/{Digest.of(b'content')}", headers={**headers, "Range": "bytes=0-3"})
        assert answer.body == b"content"
    assert storage.seen
    for seen in storage.seen:
        assert not [name for name, value in seen.headers.items() if SECRET in value]
        assert seen.headers["Range"] == "bytes=0-3"
    told = {name.title() for seen in upstream.seen for name, value in seen.headers.items() if SECRET in value}
    assert {"Authorization", "X-Jfrog-Art-Api", "Private-Token", "X-Forwarded-For", "X-Request-Id"} <= told
    assert "Cookie" not in told


@pytest.mark.parametrize("path", ["/v2/x/manifests/v1", "/v2/_catalog", "/v2/x/tags/list"])
async def test_one_accept_field_reaches_the_upstream(path: str, start: StartServer, new_rig: OpenRig) -> None:
    upstream = await start()
    rig = await new_rig(upstream=upstream.url)
    headers = CIMultiDict([("Accept", "application/a"), ("Accept", "application/b;q=0.5")])
    async with rig.session.get(rig.url + path, headers=headers) as answer:
        assert answer.status == 404
    fields = [seen.headers.getall("Accept") for seen in upstream.seen if seen.path == path]
    assert all(len(field) == 1 for field in fields)
    if "manifests" in path:
        assert OCI_MANIFEST in fields[0][0]
    else:
        assert fields == [["application/a, application/b;q=0.5"]]
