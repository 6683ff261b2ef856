"""Typed operations against registries that misbehave, and against real ones below a path."""

from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from reducto.oci.client import RegistryClient, RepositoryClient
from reducto.oci.manifest import OCI_MANIFEST
from reducto.oci.names import RepositoryName, Tag
from reducto.oci.registry_errors import Refused, RegistryError, Unavailable, UpstreamBroken, WrongContent
from reducto.oci.transport import Caller, ConnectionCut, ThreadWorkers, TransferObserver
from reducto.values import Descriptor, Digest
from tests.oci.conftest import OpenTransport, StartServer
from tests.oci.servers import Server
from tests.support.fixtures import StartRegistry

APP, OTHER = RepositoryName("team/app"), RepositoryName("other")
DATA = bytes(range(256)) * 1000
BLOB = Descriptor("application/octet-stream", Digest.of(DATA), len(DATA))


class Counted(TransferObserver):
    """Adds up the bytes of blobs."""

    def __init__(self) -> None:
        self.in_bytes = self.out_bytes = 0

    def received(self, count_bytes: int) -> None:
        self.in_bytes += count_bytes

    def sent(self, count_bytes: int) -> None:
        self.out_bytes += count_bytes


def client_of(transport_to: OpenTransport, url: str, observer: TransferObserver | None = None) -> RepositoryClient:
    return RegistryClient(transport_to(url), ThreadWorkers(), observer).repository(Caller("Bearer mine"), APP)


class BreakingBlob:
    """A registry that breaks the connection after some bytes of a blob, some times over."""

    def __init__(self, data: bytes, times: int, *, ranges: bool, piece_bytes: int = 100_000) -> None:
        self.data, self.left, self.ranges, self.piece_bytes = data, times, ranges, piece_bytes

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and self.ranges else 0
        rest = self.data[start:]
        response = web.StreamResponse(status=206 if start else 200, headers={"Content-Length": str(len(rest))})
        await response.prepare(request)
        if self.left:
            self.left -= 1
            await response.write(rest[: self.piece_bytes])
            await asyncio.sleep(0.05)  # or what was written goes down with the connection
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write(rest)
            await response.write_eof()
        return response


# -- blobs


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_blob_is_taken_up_again_where_the_connection_broke(
    ranges: bool, start: StartServer, transport_to: OpenTransport, tmp_path: Path
) -> None:
    observer = Counted()
    registry = await start(Server(BreakingBlob(DATA, 2, ranges=ranges)))
    await client_of(transport_to, registry.url, observer).save_blob(BLOB, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == DATA
    assert observer.in_bytes == len(DATA), "what came twice counts once"
    asked = [one.headers.get("Range") for one in registry.seen]
    assert asked == [None, "bytes=100000-", "bytes=200000-" if ranges else "bytes=100000-"]


async def test_a_blob_that_never_comes_whole(start: StartServer, transport_to: OpenTransport, tmp_path: Path) -> None:
    registry = await start(Server(BreakingBlob(DATA, 99, ranges=True, piece_bytes=10)))
    with pytest.raises(ConnectionCut):
        await client_of(transport_to, registry.url).save_blob(BLOB, tmp_path / "blob")
    assert len(registry.seen) == 4


@pytest.mark.parametrize("sent", [DATA[:-1] + b"x", DATA + b"x", b"x" + DATA, b"\0" * 10_000_000])
async def test_other_bytes_than_the_digest_names(
    sent: bytes, start: StartServer, transport_to: OpenTransport, tmp_path: Path
) -> None:
    registry = await start(Server(lambda _: web.Response(body=sent)))
    repository = client_of(transport_to, registry.url)
    with pytest.raises(WrongContent, match="other content or length"):
        await repository.save_blob(BLOB, tmp_path / "blob")
    assert not (tmp_path / "blob").exists()
    with pytest.raises(WrongContent):
        await repository.read_blob(BLOB, 1 << 20)
    with pytest.raises(WrongContent):
        await repository.copy_blob(BLOB, io.BytesIO())


async def test_a_blob_that_is_too_short_is_asked_for_again(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(lambda _: web.Response(body=DATA[:10])))
    with pytest.raises(ConnectionCut, match=f"10 of {len(DATA)} bytes"):
        await client_of(transport_to, registry.url).read_blob(BLOB, 1 << 20)


async def test_a_blob_beyond_the_limit_is_not_asked_for(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start()
    with pytest.raises(UpstreamBroken, match="longer than 100 bytes"):
        await client_of(transport_to, registry.url).read_blob(BLOB, 100)
    assert registry.seen == []


# -- uploads


class Uploads:
    """A registry that takes uploads at a Location of any form, and fails in the ways that are put on its list."""

    def __init__(self, location: str, *refusals: int) -> None:
        self.location, self.refusals = location, list(refusals)
        self.stored: list[bytes] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": self.location})
        if request.method == "DELETE":
            return web.Response(status=204)
        if self.refusals:
            return web.Response(status=self.refusals.pop(0))
        self.stored.append(await request.read())
        return web.Response(status=201)


@pytest.mark.parametrize("location", ["/v2/team/app/up/1", "1", "?session=1", "/other/path?state=a%2Fb"])
async def test_an_upload_goes_where_the_location_says(
    location: str, start: StartServer, transport_to: OpenTransport, tmp_path: Path
) -> None:
    uploads = Uploads(location)
    registry = await start(Server(uploads))
    observer = Counted()
    (tmp_path / "file").write_bytes(DATA)
    repository = client_of(transport_to, registry.url, observer)
    assert await repository.put_blob(BLOB.digest, DATA) == len(DATA)
    assert await repository.put_blob(BLOB.digest, tmp_path / "file") == len(DATA)
    assert uploads.stored == [DATA, DATA]
    assert observer.out_bytes == 2 * len(DATA)
    sent = registry.seen[1]
    assert sent.path.endswith(f"digest=sha256%3A{BLOB.digest.hex}")
    assert sent.headers["Authorization"] == "Bearer mine"


async def test_an_upload_to_another_host_has_no_credentials(start: StartServer, transport_to: OpenTransport) -> None:
    registry, storage = await start(), await start()
    uploads = Uploads(f"{storage.url}/bucket/1?signature=abc", 503)
    registry.answer = storage.answer = uploads
    assert await client_of(transport_to, registry.url).put_blob(BLOB.digest, DATA) == len(DATA)
    assert uploads.stored == [DATA]
    assert [one.method for one in storage.seen] == ["PUT", "DELETE", "PUT"]
    assert all("Authorization" not in one.headers for one in storage.seen)
    assert all(one.headers["Authorization"] == "Bearer mine" for one in registry.seen)


async def test_a_session_that_ended_is_replaced(start: StartServer, transport_to: OpenTransport) -> None:
    uploads = Uploads("/session/new", 404)
    registry = await start(Server(uploads))
    repository = client_of(transport_to, registry.url)
    assert await repository.put_blob(BLOB.digest, DATA, f"{registry.url}/session/old") == len(DATA)
    assert [path for path in registry.paths if not path.startswith("DELETE")] == [
        "PUT /session/old",
        "POST /v2/team/app/blobs/uploads/",
        "PUT /session/new",
    ]


async def test_a_refused_upload_is_given_up_and_says_why(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(Uploads("/session", 403)))
    with pytest.raises(Refused, match="403 Forbidden") as caught:
        await client_of(transport_to, registry.url).put_blob(BLOB.digest, DATA)
    assert caught.value.status == 403
    assert str(caught.value).startswith(f"PUT {registry.url}/session: 403")
    assert registry.paths[-1] == "DELETE /session"


# -- manifests and refusals


async def test_a_manifest_must_have_its_digest(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(lambda _: web.Response(body=b"{}", content_type=OCI_MANIFEST)))
    repository = client_of(transport_to, registry.url)
    with pytest.raises(WrongContent):
        await repository.manifest(Digest.of(b"other"))
    found = await repository.manifest(Digest.of(b"{}", "sha512"))
    assert found is not None
    assert (found.data, found.media_type, found.digest.algorithm) == (b"{}", OCI_MANIFEST, "sha512")
    stated = {"Docker-Content-Digest": str(Digest.of(b"other"))}
    registry.answer = lambda _: web.Response(body=b"{}", headers=stated)
    with pytest.raises(WrongContent):
        await repository.manifest(Tag("v1"))
    assert registry.seen[0].headers.getall("Accept") == [registry.seen[0].headers["Accept"]]


async def test_a_manifest_that_breaks_off_is_asked_for_again(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(BreakingBlob(b'{"a": 1}', 2, ranges=False, piece_bytes=3)))
    repository = client_of(transport_to, registry.url)
    found = await repository.manifest(Tag("v1"))
    assert found is not None
    assert found.data == b'{"a": 1}'
    registry.answer = BreakingBlob(b'{"a": 1}', 99, ranges=False, piece_bytes=3)
    with pytest.raises(Unavailable, match="breaks off"):
        await repository.manifest(Tag("v1"))


async def test_a_refusal_keeps_the_registrys_words(start: StartServer, transport_to: OpenTransport) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "not yours"}, {"code": "TOOMANYREQUESTS"}]}).encode()
    headers = [
        *(("WWW-Authenticate", "Basic realm=a"), ("WWW-Authenticate", "Bearer realm=b"), ("Retry-After", "7")),
        *(("RateLimit-Remaining", "0"), ("Set-Cookie", "session=1"), ("Server", "secret/1.0")),
    ]

    def refuse(_: web.Request) -> web.Response:
        answer = web.Response(status=429, body=body, content_type="application/json")
        for name, value in headers:
            answer.headers.add(name, value)
        return answer

    registry = await start(Server(refuse))
    with pytest.raises(RegistryError) as caught:
        await client_of(transport_to, registry.url).shows(Tag("v1"))
    refusal = caught.value
    assert isinstance(refusal, Refused)
    assert str(refusal).endswith("429 Too Many Requests")  # a HEAD has no body
    with pytest.raises(Refused) as other:
        await client_of(transport_to, registry.url).manifest(Tag("v1"))
    assert str(other.value).endswith("429 Too Many Requests: DENIED not yours; TOOMANYREQUESTS")
    assert other.value.to_body() == body
    kept = other.value.headers
    assert set(kept) == {"WWW-Authenticate", "Retry-After", "RateLimit-Remaining", "Content-Type"}
    assert [value for name, value in kept.items() if name == "WWW-Authenticate"] == ["Basic realm=a", "Bearer realm=b"]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\0", b"[" * 100_000, b'{"errors": 5}', b'{"errors": [7]}', b"plain"])
def test_a_refusal_in_any_words(body: bytes) -> None:
    assert str(Refused(599, {}, body)) in ("599", "599: plain", '599: {"errors": 5}', '599: {"errors": [7]}') or (
        b"[[" in body and str(Refused(599, {}, body)).startswith("599: [[[")
    )


# -- listings


@pytest.mark.parametrize(
    "link",
    [
        "</v2/team/app/tags/list?next_page=tok{next}>; rel=\"next\"",
        "<?next_page=tok{next}>;REL=next",
        "<{url}/v2/team/app/tags/list?n=10&next_page=tok{next}>; title=\"a, b\"; rel=\"last next\"",
        "</v2/first>; rel=first, <list?next_page=tok{next}>; rel=next",
        "</some/other/path?next_page=tok{next}>; rel=next",
    ],
)  # fmt: skip
async def test_listings_follow_the_registrys_own_link(
    link: str, start: StartServer, transport_to: OpenTransport
) -> None:
    names = [f"t{number:03}" for number in range(25)]
    registry = await start()

    def page(request: web.Request) -> web.Response:
        at = int(request.query.get("next_page", "tok0").removeprefix("tok"))
        headers = {"Link": link.format(next=at + 10, url=registry.url)} if at + 10 < len(names) else {}
        return web.json_response({"name": "x", "tags": names[at : at + 10], "repositories": None}, headers=headers)

    registry.answer = page
    repository = client_of(transport_to, registry.url)
    assert [tag async for tag in repository.tags()] == names
    assert [name async for name in repository.registry.repositories(repository.caller)] == []


async def test_a_listing_that_leads_in_a_circle_ends(start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start()
    registry.answer = lambda _: web.json_response({"tags": ["a"]}, headers={"Link": "<?p=1>; rel=next"})
    assert [tag async for tag in client_of(transport_to, registry.url).tags()] == ["a", "a"]


@pytest.mark.parametrize("body", ["", "[]", "5", "[" * 100_000])
async def test_a_listing_that_is_none(body: str, start: StartServer, transport_to: OpenTransport) -> None:
    registry = await start(Server(lambda _: web.Response(text=body)))
    with pytest.raises(UpstreamBroken, match="listing"):
        _ = [tag async for tag in client_of(transport_to, registry.url).tags()]


# -- real registries


@pytest.mark.integration
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("kind", ["docker-registry", "distribution"])
async def test_a_registry_below_a_path(
    kind: str, relative: bool, start_registry: StartRegistry, transport_to: OpenTransport, tmp_path: Path
) -> None:
    settings = {"http": {"prefix": "/art/", "relativeurls": relative}}
    registry = await asyncio.to_thread(start_registry, kind, settings=settings)
    repository = client_of(transport_to, f"{registry.url}/art")
    await repository.put_blob(BLOB.digest, DATA)
    await repository.save_blob(BLOB, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == DATA
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": BLOB.to_json(), "layers": []}
    content = json.dumps(document).encode()
    for tag in ("a", "b", "c"):
        await repository.put_manifest(Tag(tag), content, OCI_MANIFEST)
    pages = repository.registry.pages(repository.caller, f"/v2/{APP}/tags/list?n=1")
    assert sorted([tag async for page in pages for tag in page["tags"]]) == ["a", "b", "c"]
    other = repository.registry.repository(repository.caller, OTHER)
    assert await other.mount_blob(BLOB.digest, APP) is None
    location = await other.mount_blob(Digest.of(b"absent"), APP)
    assert location is not None
    assert await other.put_blob(Digest.of(b"absent"), b"absent", location) == 6
    await other.cancel_upload(await other.open_upload())
    assert await repository.delete_manifest(Digest.of(content))
