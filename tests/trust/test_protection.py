"""Signing and encryption in a running sidecar: what lies in the registry, and what happens to those who change it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reducto.crypt import generate_kek
from reducto.oci.names import RepositoryName
from reducto.trust.key_files import generate_key, write_private_file
from sidecar.app import build
from sidecar.maintenance.rewrite import rewrap
from tests.trust.sidecars import Client, config_of, layer_of, sidecar, words

LAYERS = [layer_of({f"file-{n}": words(n, 60_000) for n in range(6 + extra)}) for extra in range(2)]
MARKER = words(0, 60_000)[:64]


def keys(tmp_path: Path, **signing: Any) -> dict[str, Any]:
    """Security settings with a fresh signing key and a fresh key-encryption key."""
    files = generate_key(tmp_path / "signing.pem")
    write_private_file(tmp_path / "kek", generate_kek().encode())
    return {
        "signing": {"key": str(files.private), "trusted_keys": [str(files.public)], "required": True, **signing},
        "encryption": {"keys": [str(tmp_path / "kek")]},
    }


async def push(client: Client, repository: str = "team/app") -> list[str]:
    for number, layer in enumerate(LAYERS):
        await client.push_image(repository, f"v{number}", layer)
    return [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in LAYERS]


async def pulled(client: Client, repository: str, digests: list[str]) -> None:
    for digest, layer in zip(digests, LAYERS, strict=True):
        assert await client.get(f"/v2/{repository}/blobs/{digest}") == (200, layer)


def stored_files(store: Path) -> list[Path]:
    """What lies in the repositories; the pool only holds further links to the same files."""
    return [path for path in store.rglob("*") if path.is_file() and "_pool" not in path.parts]


async def test_everything_in_the_registry_is_encrypted_and_comes_back(tmp_path: Path) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client)
        await pulled(client, "team/app", digests)
    blobs = [path.read_bytes() for path in stored_files(store)]
    assert sum(blob.startswith(b"RDSEAL1\n") for blob in blobs) >= 3, "instructions and corpora of two layers"
    assert not any(MARKER in blob or layer[1000:1100] in blob for blob in blobs for layer in LAYERS)
    assert any(b"io.reducto.envelope" in blob and b"io.reducto.signed.signature" in blob for blob in blobs)
    async with sidecar(config_of(tmp_path / "fresh", store, security)) as client:
        await pulled(client, "team/app", digests)
        assert (await client.get("/v2/team/app/manifests/v1"))[0] == 200


@pytest.mark.parametrize("missing", ["encryption", "wrong"])
async def test_without_the_key_nothing_is_served(tmp_path: Path, missing: str) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client)
    if missing == "wrong":
        write_private_file(tmp_path / "other", generate_kek().encode())
        security["encryption"] = {"keys": [str(tmp_path / "other")]}
    else:
        del security["encryption"]
    async with sidecar(config_of(tmp_path / "b", store, security)) as client:
        for digest in digests:
            status, body = await client.get(f"/v2/team/app/blobs/{digest}")
            assert status == 500
            assert json.loads(body)["errors"][0]["code"] == "KEY_UNAVAILABLE"
            assert "key" in json.loads(body)["errors"][0]["message"]


async def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client)
    changed = 0
    for path in stored_files(store):
        content = path.read_bytes()
        if b"io.reducto.signed.signature" in content and b"layer.length" in content:
            path.write_bytes(content.replace(b'"io.reducto.layer.length":"', b'"io.reducto.layer.length":"1'))
            changed += 1
    assert changed
    async with sidecar(config_of(tmp_path / "b", store, security)) as client:
        for digest in digests:
            assert (await client.get(f"/v2/team/app/blobs/{digest}"))[0] in (404, 500, 502)
        assert (await client.get("/v2/team/app/manifests/v1"))[0] in (404, 500, 502)


async def test_every_changed_blob_is_noticed(tmp_path: Path) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client)
    sealed = [path for path in stored_files(store) if path.read_bytes().startswith(b"RDSEAL1\n")]
    for number, path in enumerate(sealed):
        broken = tmp_path / f"store-{number}"
        shutil.copytree(store, broken)
        forged = bytearray(path.read_bytes())
        forged[len(forged) // 2] ^= 1
        (broken / path.relative_to(store)).write_bytes(forged)
        async with sidecar(config_of(tmp_path / f"s{number}", broken, security)) as client:
            answers = [await client.get(f"/v2/team/app/blobs/{digest}") for digest in digests]
            for (status, body), layer in zip(answers, LAYERS, strict=True):
                assert status != 200 or body == layer
            assert any(status != 200 for status, _ in answers), f"no rebuild needed {path}"


async def test_records_of_strangers_and_unsigned_ones_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    stranger = keys(tmp_path / "stranger")
    del stranger["encryption"]
    async with sidecar(config_of(tmp_path / "a", store, stranger)) as client:
        digests = await push(client, "team/signed-by-a-stranger")
    async with sidecar(config_of(tmp_path / "b", store)) as client:
        await push(client, "team/unsigned")
    ours = keys(tmp_path / "ours")
    async with sidecar(config_of(tmp_path / "c", store, ours)) as client:
        for repository in ("team/signed-by-a-stranger", "team/unsigned"):
            for digest in digests:
                status, body = await client.get(f"/v2/{repository}/blobs/{digest}")
                assert status != 200, body[:300]
    ours["signing"]["required"] = False
    async with sidecar(config_of(tmp_path / "d", store, ours)) as client:
        await pulled(client, "team/unsigned", digests)
        assert (await client.get(f"/v2/team/signed-by-a-stranger/blobs/{digests[0]}"))[0] != 200


async def test_keys_rotate_while_data_stays(tmp_path: Path) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client)
    before = {path: path.read_bytes() for path in stored_files(store) if path.read_bytes().startswith(b"RDSEAL1\n")}
    write_private_file(tmp_path / "new", generate_kek().encode())
    security["encryption"]["keys"].insert(0, str(tmp_path / "new"))
    async with sidecar(config_of(tmp_path / "b", store, security)) as client:
        await pulled(client, "team/app", digests)
        await client.push_image("team/app", "v2", layer_of({"more": words(99, 50_000)}))
    assert {path: path.read_bytes() for path in before} == before


async def test_a_mount_gives_the_other_repository_its_own_envelope(tmp_path: Path) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    write_private_file(tmp_path / "tenant", generate_kek().encode())
    security["encryption"]["repositories"] = [f"tenant/*={tmp_path / 'tenant'}"]
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client, "tenant/app")
        for digest in digests:
            url = f"{client.base}/v2/other/app/blobs/uploads/"
            async with client.session.post(url, params={"mount": digest, "from": "tenant/app"}) as answer:
                assert answer.status == 201
    del security["encryption"]["repositories"]  # the tenant's key is destroyed
    async with sidecar(config_of(tmp_path / "b", store, security)) as client:
        for digest in digests:
            assert (await client.get(f"/v2/tenant/app/blobs/{digest}"))[0] == 500
        await pulled(client, "other/app", digests)


async def test_rewrapping_lets_go_of_the_old_key_and_signature(tmp_path: Path) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client)
        _, manifest = await client.get("/v2/team/app/manifests/v1")
    before = {path for path in stored_files(store) if path.read_bytes().startswith(b"RDSEAL1\n")}
    fresh = keys(tmp_path / "new")
    both = json.loads(json.dumps(fresh))
    both["encryption"]["keys"] += security["encryption"]["keys"]
    both["signing"]["trusted_keys"] += security["signing"]["trusted_keys"]
    for _ in range(2):  # doing it again changes nothing
        maintained = await build(config_of(tmp_path / "b", store, both))
        try:
            assert (await rewrap(maintained, RepositoryName("team/app"))).records >= 4
        finally:
            await maintained.close()
    assert {path for path in stored_files(store) if path.read_bytes().startswith(b"RDSEAL1\n")} == before
    async with sidecar(config_of(tmp_path / "c", store, fresh)) as client:
        await pulled(client, "team/app", digests)
        assert await client.get("/v2/team/app/manifests/v1") == (200, manifest)
    async with sidecar(config_of(tmp_path / "d", store, security)) as client:
        assert (await client.get(f"/v2/team/app/blobs/{digests[0]}"))[0] != 200, "the old keys open nothing any more"


async def test_records_copied_to_another_repository_need_the_operators_word(tmp_path: Path) -> None:
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client, "staging/app")
        _, manifest = await client.get("/v2/staging/app/manifests/v1")
    shutil.copytree(store / "staging", store / "prod")
    shutil.copytree(store / "staging", tmp_path / "mirror" / "staging")
    async with sidecar(config_of(tmp_path / "b", store, security)) as client:
        assert (await client.get(f"/v2/prod/app/blobs/{digests[0]}"))[0] != 200
        assert (await client.get("/v2/prod/app/manifests/v1"))[0] != 200
    async with sidecar(config_of(tmp_path / "c", tmp_path / "mirror", security)) as client:
        await pulled(client, "staging/app", digests)  # another registry, the same repository
    for allowed in ({"trusted_origins": ["staging/*"]}, {"bind": "digest"}):
        settings = security | {"signing": security["signing"] | allowed}
        async with sidecar(config_of(tmp_path / next(iter(allowed)), store, settings)) as client:
            await pulled(client, "prod/app", digests)
            assert await client.get("/v2/prod/app/manifests/v1") == (200, manifest)


async def test_a_record_cannot_be_given_another_digest(tmp_path: Path) -> None:
    """Two good records of one repository, exchanged: each is signed, neither is for the digest that is asked for."""
    security, store = keys(tmp_path), tmp_path / "store"
    async with sidecar(config_of(tmp_path / "a", store, security)) as client:
        digests = await push(client)
    index = store / "team" / "app" / "_oci" / "index.json"
    one, other = (f"reducto-sha256-{digest[7:]}" for digest in digests)
    text = index.read_text()
    assert one in text
    assert other in text
    index.write_text(text.replace(one, "swap").replace(other, one).replace("swap", other))
    async with sidecar(config_of(tmp_path / "b", store, security)) as client:
        for digest, layer in zip(digests, LAYERS, strict=True):
            status, body = await client.get(f"/v2/team/app/blobs/{digest}")
            assert status != 200 or body == layer
