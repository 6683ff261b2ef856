"""A caller gets from a warm cache, a mount or a HEAD exactly what the bare registry would give."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from reducto.model import Digest
from tests.sidecar.conftest import OpenRig
from tests.support.fixtures import StartRegistry
from tests.support.registries import Registry
from tests.support.sidecar_rig import Rig, noise
from tests.support.token_server import TokenServer

pytestmark = pytest.mark.integration
LAYER = noise(300_000, 1)
PULL, PUSH = {"pull"}, {"pull", "push"}


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    grants = {"alice": {"secret/app": PUSH}, "bob": {"bob/app": PUSH}}
    with TokenServer({"alice": "a", "bob": "b"}, grants) as server:
        yield server


@pytest.fixture
async def guarded(start_registry: StartRegistry, tokens: TokenServer) -> Registry:
    return await asyncio.to_thread(start_registry, "docker-registry", tokens)


@pytest.fixture
async def rig(new_rig: OpenRig, guarded: Registry) -> Rig:
    return await new_rig(upstream=guarded.url)


def bearer(tokens: TokenServer, user: str, *repositories: str) -> dict[str, str]:
    scopes = tuple(f"repository:{name}:pull,push" for name in repositories)
    return {"Authorization": f"Bearer {tokens.token(user, scopes)}"}


async def test_rights_are_the_registrys(rig: Rig, guarded: Registry, tokens: TokenServer) -> None:
    alice, bob = bearer(tokens, "alice", "secret/app"), bearer(tokens, "bob", "secret/app", "bob/app")
    rig.headers = alice
    manifest, _ = await rig.push_image("secret/app", "v1", [LAYER])
    layer = Digest.of(LAYER)
    assert (await rig.get_blob("secret/app", layer)).body == LAYER, "the cache is warm now"
    assert (await rig.get_blob("secret/app", layer)).body == LAYER
    paths = [
        f"/v2/secret/app/blobs/{layer}",
        "/v2/secret/app/manifests/v1",
        f"/v2/secret/app/manifests/{manifest}",
        "/v2/secret/app/tags/list",
    ]
    for headers in ({}, bob):
        rig.headers = headers
        for path in paths:
            for method in ("GET", "HEAD"):
                bare = await rig(method, guarded.url + path)
                through = await rig(method, path)
                assert through.status == bare.status == 401, path
                assert through.headers["WWW-Authenticate"] == bare.headers["WWW-Authenticate"]
                assert through.body == bare.body


async def test_a_mount_needs_rights_on_its_source(rig: Rig, guarded: Registry, tokens: TokenServer) -> None:
    rig.headers = bearer(tokens, "alice", "secret/app")
    layer = await rig.push_blob("secret/app", LAYER)
    rig.headers = bearer(tokens, "bob", "secret/app", "bob/app")
    path = f"/v2/bob/app/blobs/uploads/?mount={layer}&from=secret/app"
    bare, through = await rig("POST", guarded.url + path), await rig("POST", path)
    assert through.status == bare.status == 401
    # This registry lists the scopes and their actions in a different order each time.
    challenges = [sorted(re.split(r'[" ,:]', answer.headers["WWW-Authenticate"])) for answer in (bare, through)]
    assert challenges[0] == challenges[1]
    assert (await rig("HEAD", f"/v2/bob/app/blobs/{layer}")).status == 404


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
    await rig.push_blob("bob/app", LAYER + b"first")
    alone = await rig.metric("reducto_layer_stored_bytes_total")
    rig.headers = bearer(tokens, "alice", "secret/app")
    await rig.push_blob("secret/app", LAYER)
    assert await rig.metric("reducto_layer_stored_bytes_total") - alone > 0.95 * len(LAYER)
