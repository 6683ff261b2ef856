"""A caller gets from a warm cache, a mount or a HEAD exactly what the bare registry would give."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from reducto.values import Digest
from tests.sidecar.conftest import OpenRig
from tests.sidecar.samples import real_layer
from tests.support.fixtures import StartRegistry
from tests.support.registries import Registry
from tests.support.sidecar_rig import MANIFEST, Answer, Rig
from tests.support.token_server import TokenServer

pytestmark = pytest.mark.integration
LAYER, NEXT = real_layer(1), real_layer(2)
PULL, PUSH = {"pull"}, {"pull", "push"}


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    grants = {
        "alice": {"secret/app": PUSH, "shared/app": PUSH},
        "bob": {"bob/app": PUSH, "shared/app": PULL},
        "": {"public/app": PULL},
    }
    with TokenServer({"alice": "a", "bob": "b"}, grants) as server:
        yield server


@pytest.fixture(params=["docker-registry", "distribution", "zot"])
async def guarded(request: pytest.FixtureRequest, start_registry: StartRegistry, tokens: TokenServer) -> Registry:
    return await asyncio.to_thread(start_registry, request.param, tokens)


@pytest.fixture
async def rig(new_rig: OpenRig, guarded: Registry) -> Rig:
    return await new_rig(upstream=guarded.url)


def bearer(tokens: TokenServer, user: str, *repositories: str) -> dict[str, str]:
    scopes = tuple(f"repository:{name}:pull,push" for name in repositories)
    return {"Authorization": f"Bearer {tokens.token(user, scopes)}"}


def challenge_of(answer: Answer) -> list[str]:
    """The scopes and actions in a challenge, sorted, because docker-registry names them in any order."""
    return sorted(re.split(r'[" ,:]', answer.headers.get("WWW-Authenticate", "")))


async def check_same(rig: Rig, guarded: Registry, method: str, path: str, **more: Any) -> Answer:
    """Checks that the sidecar answers as the registry itself does; returns the answer."""
    bare, through = await rig(method, guarded.url + path, **more), await rig(method, path, **more)
    assert through.status == bare.status, (method, path)
    assert challenge_of(through) == challenge_of(bare), (method, path)
    assert through.headers.get("Content-Type") == bare.headers.get("Content-Type"), (method, path)
    assert through.body == bare.body or through.status < 400, (method, path)
    return through


async def warm_up(rig: Rig, tokens: TokenServer) -> tuple[Digest, Digest]:
    """Alice pushes an image and pulls it twice, so that it is cached. Returns its digest and its layer's."""
    rig.headers = bearer(tokens, "alice", "secret/app")
    manifest, _ = await rig.push_image("secret/app", "v1", [LAYER])
    for _ in range(2):
        assert (await rig.get_blob("secret/app", Digest.of(LAYER))).body == LAYER
        assert (await rig("GET", "/v2/secret/app/manifests/v1", headers={"Accept": MANIFEST})).status == 200
    assert await rig.metric("reducto_cache_requests_total", result="warm") == 1
    return manifest, Digest.of(LAYER)


async def test_rights_are_the_registrys(rig: Rig, guarded: Registry, tokens: TokenServer) -> None:
    manifest, layer = await warm_up(rig, tokens)
    paths = [
        f"/v2/secret/app/blobs/{layer}",
        "/v2/secret/app/manifests/v1",
        f"/v2/secret/app/manifests/{manifest}",
        "/v2/secret/app/tags/list",
        f"/v2/secret/app/referrers/{manifest}",
    ]
    strangers = [{}, bearer(tokens, "bob", "secret/app", "bob/app"), {"Authorization": "Bearer forged"}]
    for rig.headers in strangers:
        for path in paths:
            for method in ("GET", "HEAD", "DELETE"):
                answer = await check_same(rig, guarded, method, path)
                assert answer.status in (401, 403, 404, 405), (method, path)
                assert not answer.body.startswith(LAYER[:100])
        for headers in ({"Range": "bytes=0-99"}, {"If-None-Match": f'"{layer}"'}):
            assert (await check_same(rig, guarded, "GET", paths[0], headers=headers)).status == 401
        body = {"data": b"{}", "headers": {"Content-Type": MANIFEST}}
        assert (await check_same(rig, guarded, "PUT", "/v2/secret/app/manifests/v1", **body)).status == 401
        assert (await check_same(rig, guarded, "POST", "/v2/secret/app/blobs/uploads/")).status == 401
        record = await rig("GET", f"/v2/secret/app/manifests/reducto-{str(layer).replace(':', '-')}")
        assert (record.status, record.code) == (404, "MANIFEST_UNKNOWN"), "records are for nobody, whoever asks"
    rig.headers = bearer(tokens, "alice", "secret/app")
    assert (await rig.get_blob("secret/app", layer)).body == LAYER, "and who has the right still gets it"


async def test_a_mount_needs_rights_on_its_source(rig: Rig, guarded: Registry, tokens: TokenServer) -> None:
    _, layer = await warm_up(rig, tokens)
    rig.headers = bearer(tokens, "bob", "secret/app", "bob/app")
    for path in (f"mount={layer}&from=secret/app", f"mount={layer}", f"mount={layer}&from=not/there"):
        await check_same(rig, guarded, "POST", f"/v2/bob/app/blobs/uploads/?{path}")
        for method in ("HEAD", "GET"):
            assert (await check_same(rig, guarded, method, f"/v2/bob/app/blobs/{layer}")).status == 404


async def test_a_mount_from_where_one_may_read(rig: Rig, guarded: Registry, tokens: TokenServer) -> None:
    rig.headers = bearer(tokens, "alice", "shared/app")
    layer = await rig.push_blob("shared/app", LAYER)
    rig.headers = bearer(tokens, "bob", "shared/app", "bob/app")
    mounted = await rig("POST", f"/v2/bob/app/blobs/uploads/?mount={layer}&from=shared/app")
    if guarded.kind == "zot":  # Zot declines mounts without its cache.
        assert mounted.status == 202
        return
    assert mounted.status == 201
    assert (await rig.get_blob("bob/app", layer)).body == LAYER


async def test_who_may_only_read_changes_nothing(rig: Rig, guarded: Registry, tokens: TokenServer) -> None:
    rig.headers = bearer(tokens, "alice", "shared/app")
    manifest, data = await rig.push_image("shared/app", "v1", [LAYER])
    layer = Digest.of(LAYER)
    rig.headers = bearer(tokens, "bob", "shared/app")
    assert (await rig.get_blob("shared/app", layer)).body == LAYER
    for method, path in (
        ("DELETE", f"/v2/shared/app/blobs/{layer}"),
        ("DELETE", f"/v2/shared/app/manifests/{manifest}"),
        ("POST", "/v2/shared/app/blobs/uploads/"),
    ):
        assert (await rig(method, path)).status in (401, 403), (method, path)
    assert (await rig.put_manifest("shared/app", "v2", data)).status in (401, 403)
    assert (await rig("GET", "/v2/shared/app/manifests/v1", headers={"Accept": MANIFEST})).body == data


async def test_an_upload_belongs_to_who_opened_it(rig: Rig, tokens: TokenServer) -> None:
    rig.headers = bearer(tokens, "alice", "secret/app")
    location = (await rig("POST", "/v2/secret/app/blobs/uploads/")).headers["Location"]
    rig.headers = bearer(tokens, "bob", "secret/app", "bob/app")
    for method in ("PATCH", "GET", "DELETE"):
        assert (await rig(method, location)).status == 401
    rig.headers = bearer(tokens, "alice", "secret/app")
    put = await rig("PUT", f"{location}?digest={Digest.of(LAYER)}", data=LAYER)
    assert put.status == 201, "a renewed token of the same right goes on"


async def test_what_another_tenant_pushed_changes_nothing(rig: Rig, tokens: TokenServer) -> None:
    rig.headers = bearer(tokens, "bob", "bob/app")
    await rig.push_blob("bob/app", NEXT)
    alone = await rig.metric("reducto_layer_stored_bytes_total")
    rig.headers = bearer(tokens, "alice", "secret/app")
    await rig.push_blob("secret/app", LAYER)
    assert await rig.metric("reducto_layer_stored_bytes_total") - alone > 0.6 * len(LAYER)


async def test_refusals_are_the_same_for_known_and_unknown_digests(rig: Rig, tokens: TokenServer) -> None:
    """A manifest that names a layer which the repository holds is refused as one that names a layer of nobody's."""
    _, layer = await warm_up(rig, tokens)
    plain = await rig.push_blob("secret/app", b"stored as it came, because it is small")
    for rig.headers in ({}, bearer(tokens, "bob", "secret/app", "bob/app"), {"Authorization": "Bearer forged"}):
        answers = []
        for digest in (layer, plain, Digest.of(b"nobody's")):
            named = {"mediaType": "application/octet-stream", "digest": str(digest), "size": 100}
            data = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": named, "layers": [named]}).encode()
            put = await rig.put_manifest("secret/app", "guess", data)
            head = await rig("HEAD", f"/v2/secret/app/blobs/{digest}")
            answers.append([_said(answer) for answer in (put, head)])
        assert answers[0] == answers[1] == answers[2]
        assert answers[0][0][0] == 401


def _said(answer: Answer) -> tuple[int, bytes, list[str], list[str]]:
    """What an answer tells, but for the scopes' order and headers that differ at every request."""
    body = re.sub(rb'"(Class|Name|Action)":"[^"]*"', b"", answer.body)
    return answer.status, body, challenge_of(answer), sorted(answer.headers.keys())
