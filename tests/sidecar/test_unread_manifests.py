"""Manifests of kinds for which no record can stand may name reduced layers. None of these layers may get lost."""

from __future__ import annotations

import json

import pytest

from reducto.oci.manifest import digests_in
from reducto.oci.names import RepositoryName, Tag
from reducto.oci.registry_errors import Refused
from reducto.values import Digest
from sidecar.maintenance.fsck import check
from sidecar.maintenance.gc import collect, sweep
from tests.codec.samples import words
from tests.sidecar.conftest import OpenRig
from tests.support.fixtures import StartRegistry
from tests.support.registries import collect_garbage
from tests.support.sidecar_rig import INDEX, MANIFEST, Rig, descriptor

APP = RepositoryName("app")
LAYERS = [words(300_000, seed) for seed in (1, 2)]
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def cache_index() -> bytes:
    """An index that names layers, as BuildKit writes its cache with image-manifest=false."""
    config = {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": str(Digest.of(b"{}")), "size": 2}
    named = [*(descriptor(layer, LAYER_TYPE) for layer in LAYERS), config]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": named}).encode()


def schema1() -> bytes:
    blobs = [{"blobSum": str(Digest.of(layer))} for layer in LAYERS]
    return json.dumps({"schemaVersion": 1, "name": "app", "tag": "old", "fsLayers": blobs}).encode()


def other_case() -> bytes:
    named = [descriptor(layer, LAYER_TYPE) for layer in LAYERS]
    config = descriptor(b"{}", "application/vnd.oci.image.config.v1+json")
    return json.dumps({"schemaVersion": 2, "config": config, "layers": named}).encode()


def of_tomorrow() -> bytes:
    return json.dumps({"schemaVersion": 3, "parts": {"a": [{"b": str(Digest.of(layer))} for layer in LAYERS]}}).encode()


async def push_layers(rig: Rig) -> None:
    for layer in LAYERS:
        await rig.push_blob("app", layer)
    await rig.push_blob("app", b"{}")
    assert await rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == len(LAYERS)


async def collect_everything(rig: Rig) -> None:
    """Removes all records and blobs of any age that Reducto's garbage collection finds unneeded."""
    await collect(rig.running.sidecar, APP, -10.0)
    await sweep(rig.running.sidecar, -10.0)


async def check_layers(rig: Rig) -> None:
    for layer in LAYERS:
        assert (await rig.get_blob("app", Digest.of(layer))).body == layer
    assert [each for each in await check(rig.running.sidecar, APP) if each.trouble] == []


async def test_layers_that_only_an_index_names_outlive_garbage_collection(new_rig: OpenRig) -> None:
    rig = await new_rig(state="one")
    await push_layers(rig)
    assert (await rig.put_manifest("app", "cache", cache_index(), INDEX)).status == 201
    await collect_everything(rig)
    fresh = await new_rig(state="two")
    assert (await fresh("GET", "/v2/app/manifests/cache", headers={"Accept": INDEX})).body == cache_index()
    await check_layers(fresh)


async def test_a_record_stays_while_any_manifest_in_the_upstream_names_its_layer(new_rig: OpenRig) -> None:
    """The index was stored without restoring the layers that it names, as earlier versions did it."""
    rig = await new_rig(state="one")
    await push_layers(rig)
    await rig.repository("app").put_manifest(Tag("cache"), cache_index(), INDEX)
    await collect_everything(rig)
    fresh = await new_rig(state="two")
    for layer in LAYERS:
        assert (await fresh.get_blob("app", Digest.of(layer))).body == layer


@pytest.mark.parametrize(
    ("kind", "manifest"),
    [
        (SCHEMA1, schema1()),
        (MANIFEST.upper(), other_case()),
        ("application/vnd.example.tomorrow+json", of_tomorrow()),
    ],
    ids=["schema-1", "letter-case", "unknown"],
)
async def test_originals_are_back_before_the_upstream_sees_an_unread_manifest(
    rig: Rig, kind: str, manifest: bytes
) -> None:
    await push_layers(rig)
    repository = rig.repository("app")
    for layer in LAYERS:
        assert not await repository.has_blob(Digest.of(layer))
    await rig.put_manifest("app", "x", manifest, kind)  # The upstream decides whether it takes such a manifest.
    for layer in LAYERS:
        assert await repository.has_blob(Digest.of(layer))


async def test_an_index_of_images_and_layers_stands_for_both(new_rig: OpenRig) -> None:
    rig = await new_rig(state="one")
    _, image = await rig.push_image("app", "v1", [words(300_000, 3)])
    await push_layers_beside(rig)
    named = [descriptor(image, MANIFEST), *(descriptor(layer, LAYER_TYPE) for layer in LAYERS)]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": named}).encode()
    assert (await rig.put_manifest("app", "both", index, INDEX)).status == 201
    await collect_everything(rig)
    fresh = await new_rig(state="two")
    assert (await fresh("GET", "/v2/app/manifests/both", headers={"Accept": INDEX})).body == index
    assert (await fresh("GET", "/v2/app/manifests/v1", headers={"Accept": MANIFEST})).body == image
    await check_layers(fresh)


async def push_layers_beside(rig: Rig) -> None:
    for layer in LAYERS:
        await rig.push_blob("app", layer)


async def bare_status(rig: Rig, index: bytes) -> int:
    """The upstream's own answer to the index, in a repository that has its layers as they are."""
    repository = rig.repository("bare")
    for blob in (*LAYERS, b"{}"):
        await repository.put_blob(Digest.of(blob), blob)
    try:
        await repository.put_manifest(Tag("cache"), index, INDEX)
    except Refused as refusal:
        return refusal.status
    return 201


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["docker-registry", "distribution", "zot"])
async def test_real_registries_keep_a_cache_index(new_rig: OpenRig, start_registry: StartRegistry, kind: str) -> None:
    registry = start_registry(kind)
    rig = await new_rig(upstream=registry.url, state="one")
    bare = await bare_status(rig, cache_index())
    await push_layers(rig)
    answer = await rig.put_manifest("app", "cache", cache_index(), INDEX)
    assert answer.status == bare, "the registry decides, as it does for a client without the sidecar"
    await collect(rig.running.sidecar, APP, -10.0)
    if kind == "docker-registry":
        collect_garbage(registry)
    if answer.status == 201:
        await check_layers(await new_rig(upstream=registry.url, state="two"))


def test_every_spelled_digest_is_found() -> None:
    one, two, three = Digest.of(b"1"), Digest.of(b"2", "sha512"), Digest.of(b"3")
    escaped = f'"\\u0073ha256:{three.hex}"'
    data = f'{{"a": ["{one}", {{"{two}": {escaped}}}], "no": "sha256:{one.hex}0", "short": "sha256:abc"}}'.encode()
    assert digests_in(data) == {one, two, three}
    assert digests_in(b"\xff not JSON " + str(one).encode()) == {one}
    assert digests_in(b"[" * 100_000 + str(one).encode()) == {one}
