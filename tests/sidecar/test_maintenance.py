"""Maintenance checks repositories, removes records, packs corpora again, adopts plain images and restores them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reducto.config import Seconds
from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.maintenance.adopt import adopt
from sidecar.maintenance.fsck import check
from sidecar.maintenance.gc import collect, sweep
from sidecar.maintenance.idle import improve, when_idle
from sidecar.maintenance.rehydrate import rehydrate
from sidecar.maintenance.walk import Contents, contents_of
from tests.codec.samples import words
from tests.sidecar.conftest import OpenRig
from tests.sidecar.samples import text
from tests.support.fixtures import StartRegistry
from tests.support.registries import collect_garbage
from tests.support.sidecar_rig import INDEX, MANIFEST, Rig, descriptor, layer_gzip, noise, until

APP = RepositoryName("app")
LAYER = words(300_000, 1)


async def pull(rig: Rig, digest: Digest) -> bytes:
    answer = await rig.get_blob("app", digest)
    assert answer.status == 200, answer.body
    return answer.body


async def push_index(rig: Rig) -> bytes:
    children = [await rig.push_image("app", f"arch{n}", [LAYER + bytes([n]) * 5000]) for n in range(2)]
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor(data, MANIFEST) for _, data in children],
    }
    data = json.dumps(document).encode()
    assert (await rig.put_manifest("app", "multi", data, INDEX)).status == 201
    return data


async def test_fsck_rebuilds_everything(rig: Rig) -> None:
    await push_index(rig)
    findings = await check(rig.running.sidecar, APP)
    assert {finding.kind for finding in findings} == {"layer", "image", "index"}
    assert [finding.trouble for finding in findings] == [""] * len(findings)


async def test_fsck_says_which_record_lost_its_corpus(new_rig: OpenRig, tmp_path: Path) -> None:
    rig = await new_rig(state="one")
    digest = await rig.push_blob("app", LAYER)
    await rig.close()
    blobs = tmp_path / "registry" / "app" / "_oci" / "blobs" / "sha256"
    max(blobs.iterdir(), key=lambda path: path.stat().st_size).unlink()
    fresh = await new_rig(state="two")
    (finding,) = await check(fresh.running.sidecar, APP)
    assert finding.digest == str(digest)
    assert "404" in finding.trouble


async def test_gc_removes_only_layers_without_an_image(rig: Rig) -> None:
    orphan = await rig.push_blob("app", LAYER)
    image, _ = await rig.push_image("app", "v1", [words(200_000, 9)])
    sidecar = rig.running.sidecar
    assert await collect(sidecar, APP, 3600.0) == [], "too young"
    (would,) = await collect(sidecar, APP, -10.0, dry_run=True)
    assert would.digest == str(orphan)
    assert (await rig("HEAD", f"/v2/app/blobs/{orphan}")).status == 200
    await collect(sidecar, APP, -10.0)
    assert (await check(sidecar, APP))[0].digest != str(orphan)
    assert await sweep(sidecar, -10.0) > 50_000
    assert (await rig("GET", f"/v2/app/manifests/{image}")).status == 200
    assert await pull(rig, Digest.of(words(200_000, 9))) == words(200_000, 9)


async def test_gc_untagged_keeps_what_an_index_or_a_tag_needs(rig: Rig) -> None:
    data = await push_index(rig)
    _, loose = await rig.push_image("app", "gone", [words(150_000, 4)])
    sidecar = rig.running.sidecar
    for tag in ("gone", "arch0", "arch1"):
        assert (await rig("DELETE", f"/v2/app/manifests/{tag}")).status == 202
    removed = await collect(sidecar, APP, -10.0, untagged=True)
    assert [item.digest for item in removed if item.kind == "image"] == [str(Digest.of(loose))]
    assert (await rig("GET", "/v2/app/manifests/multi")).body == data
    for child in json.loads(data)["manifests"]:
        assert (await rig("GET", f"/v2/app/manifests/{child['digest']}")).status == 200


async def test_rehydrate_leaves_a_plain_repository(new_rig: OpenRig, tmp_path: Path) -> None:
    rig = await new_rig()
    data = await push_index(rig)
    await rehydrate(rig.running.sidecar, APP)
    blobs = tmp_path / "registry" / "app" / "_oci" / "blobs" / "sha256"
    assert (blobs / Digest.of(LAYER + bytes(5000)).hex).read_bytes() == LAYER + bytes(5000)
    tags = [tag async for tag in rig.running.sidecar.repository(APP).tags()]
    assert tags == ["arch0", "arch1", "multi"]
    assert (await rig("GET", "/v2/app/manifests/multi")).body == data
    fresh = await new_rig(state="fresh", enabled=False)
    assert await pull(fresh, Digest.of(LAYER + bytes(5000))) == LAYER + bytes(5000)


async def test_adopt_then_rehydrate_changes_nothing_for_clients(new_rig: OpenRig) -> None:
    plain = await new_rig(state="plain", enabled=False)
    data = await push_index(plain)
    await plain.close()
    rig = await new_rig(state="on")
    result = await adopt(rig.running.sidecar, APP)
    assert (result.images, result.layers) == (3, 2)
    assert result.stored_bytes < 0.6 * result.wire_bytes
    assert (await rig("GET", "/v2/app/manifests/multi")).body == data
    assert await pull(rig, Digest.of(LAYER + bytes(5000))) == LAYER + bytes(5000)
    assert await rig.tags("app") == ["arch0", "arch1", "multi"]
    assert (await adopt(rig.running.sidecar, APP)).images == 0


async def test_recompression_swaps_blobs_under_the_same_images(new_rig: OpenRig) -> None:
    rig = await new_rig()
    first = layer_gzip({f"f{n}": text(300_000, n + 1) for n in range(4)})
    second = layer_gzip({f"f{n}": text(300_000, n + 2) for n in range(4)})
    manifests = {}
    for tag, layer in (("v1", first), ("v2", second)):
        manifests[tag] = (await rig.push_image("app", tag, [layer]))[1]
    sidecar = rig.running.sidecar
    saved = (await improve(sidecar, APP)).saved_bytes
    assert saved > 0
    fresh = await new_rig(state="fresh")
    for tag, layer in (("v1", first), ("v2", second)):
        assert (await fresh("GET", f"/v2/app/manifests/{tag}")).body == manifests[tag]
        assert await pull(fresh, Digest.of(layer)) == layer
    assert all(not finding.trouble for finding in await check(fresh.running.sidecar, APP))
    assert (await improve(fresh.running.sidecar, APP)).saved_bytes == 0, "a second time there is nothing to gain"


async def test_a_restart_before_it_was_idle_forgets_no_recompression(new_rig: OpenRig) -> None:
    rig = await new_rig(state="one")
    layers = [layer_gzip({f"f{n}": text(300_000, n + version) for n in range(4)}) for version in (1, 2)]
    await rig.push_image("app", "v1", layers)
    await rig.close()
    again = await new_rig(state="one")
    sidecar = again.running.sidecar
    assert (sidecar.push.idle_queue.corpora, sidecar.push.idle_queue.layers) == (2, 2)
    soon = replace(sidecar.config.recompression, idle_after=Seconds(0.05))
    sidecar.config = replace(sidecar.config, recompression=soon)
    await until(lambda: when_idle(sidecar))
    assert sidecar.push.idle_queue.next() is None
    assert await again.metric("reducto_recompressed_bytes_saved_total") > 0
    for layer in layers:
        assert await pull(again, Digest.of(layer)) == layer
    await again.close()
    assert (await new_rig(state="one")).running.sidecar.push.idle_queue.next() is None


@pytest.mark.integration
@pytest.mark.parametrize("upstream", ["embedded", "docker-registry", "distribution", "zot"])
async def test_pushes_during_recompression_are_not_lost(
    new_rig: OpenRig, start_registry: StartRegistry, monkeypatch: pytest.MonkeyPatch, upstream: str
) -> None:
    """At the worst moments a tag moves, an image is deleted, and another image gets a further tag."""
    url = None if upstream == "embedded" else (await asyncio.to_thread(start_registry, upstream)).url
    rig = await new_rig(upstream=url)
    layers = {
        tag: layer_gzip({f"f{n}": text(300_000, n + number) for n in range(4)}) for number, tag in enumerate(TAGS)
    }
    for tag in TAGS[:4]:
        await rig.push_image("app", tag, [layers[tag]])
    expected = {
        tag: (await rig("GET", f"/v2/app/manifests/{tag}", headers={"Accept": MANIFEST})).body for tag in TAGS[:4]
    }
    steps = [meanwhile(rig, expected, layers, number) for number in range(3)]

    async def contents_and_then(*arguments: Any) -> Contents:
        contents = await contents_of(*arguments)
        if steps:
            await steps.pop(0)
        return contents

    monkeypatch.setattr("sidecar.maintenance.rewrite.contents_of", contents_and_then)
    assert (await improve(rig.running.sidecar, APP)).saved_bytes > 0
    assert not steps
    fresh = await new_rig(upstream=url, state="fresh")
    for side in (rig, fresh):
        for tag, data in expected.items():
            found = await side("GET", f"/v2/app/manifests/{tag}", headers={"Accept": f"{MANIFEST}, {INDEX}"})
            assert (found.status, found.body) == ((404, found.body) if not data else (200, data)), tag
        assert sorted(await side.tags("app")) == sorted(tag for tag, data in expected.items() if data)
    for tag, layer in layers.items():
        if tag != "deleted":
            assert await pull(fresh, Digest.of(layer)) == layer
    assert all(not finding.trouble for finding in await check(fresh.running.sidecar, APP))


TAGS = ["stays", "deleted", "tagged-again", "moved", "new"]


async def meanwhile(rig: Rig, expected: dict[str, bytes], layers: dict[str, bytes], number: int) -> None:
    """The actions of clients after the repository was read for the first, second and third time."""
    if number == 1:  # Image records are written next.
        _, expected["moved"] = await rig.push_image("app", "moved", [layers["new"]])
    if number == 0:
        digest = Digest.of(expected["deleted"])
        assert (await rig("DELETE", f"/v2/app/manifests/{digest}")).status == 202
        expected["deleted"] = b""
    tag = f"again-{number}"
    assert (await rig.put_manifest("app", tag, expected["tagged-again"])).status == 201
    expected[tag] = expected["tagged-again"]
    children = [descriptor(expected[tag], MANIFEST) for tag in ("stays", "tagged-again")]
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": children, "annotations": {"n": tag}}
    ).encode()
    assert (await rig.put_manifest("app", f"index-{number}", index, INDEX)).status == 201
    expected[f"index-{number}"] = index


@pytest.mark.integration
async def test_recompression_where_nothing_can_be_deleted(new_rig: OpenRig, start_registry: StartRegistry) -> None:
    settings = {"storage": {"delete": {"enabled": False}}}
    registry = await asyncio.to_thread(start_registry, "docker-registry", settings=settings)
    rig = await new_rig(upstream=registry.url)
    layers = [layer_gzip({f"f{n}": text(300_000, n + number) for n in range(4)}) for number in range(2)]
    for number, layer in enumerate(layers):
        await rig.push_image("app", f"v{number}", [layer])
    assert (await improve(rig.running.sidecar, APP)).saved_bytes > 0
    fresh = await new_rig(upstream=registry.url, state="fresh")
    for layer in layers:
        assert await pull(fresh, Digest.of(layer)) == layer


@pytest.mark.integration
async def test_the_registrys_own_garbage_collection(new_rig: OpenRig, start_registry: StartRegistry) -> None:
    """It removes blobs that recompression and deletion left, and none that is needed.

    New layers do not refer to removed blobs.
    """
    registry = await asyncio.to_thread(start_registry, "docker-registry")
    rig = await new_rig(upstream=registry.url)
    layers = [layer_gzip({f"f{n}": text(300_000, n + number) for n in range(4)}) for number in range(4)]
    images = [await rig.push_image("app", f"v{number}", [layer]) for number, layer in enumerate(layers[:3])]
    saved = (await improve(rig.running.sidecar, APP)).saved_bytes
    before = await asyncio.to_thread(lambda: registry.stored_bytes)
    await asyncio.to_thread(collect_garbage, registry)
    assert before - await asyncio.to_thread(lambda: registry.stored_bytes) >= saved > 0
    fresh = await new_rig(upstream=registry.url, state="fresh")
    for layer in layers[:3]:
        assert await pull(fresh, Digest.of(layer)) == layer
    for (digest, _), layer in zip(images, layers, strict=False):
        assert (await rig("DELETE", f"/v2/app/manifests/{digest}")).status == 202
        assert (await rig("DELETE", f"/v2/app/blobs/{Digest.of(layer)}")).status == 202
    await asyncio.to_thread(collect_garbage, registry)
    assert await asyncio.to_thread(lambda: registry.stored_bytes) < 10_000
    for side in (rig, fresh):  # Both sidecars have corpora in their caches that the registry no longer has.
        digest, data = await side.push_image("app", "v3", [layers[3]])
    last = await new_rig(upstream=registry.url, state="last")
    assert (await last("GET", f"/v2/app/manifests/{digest}", headers={"Accept": MANIFEST})).body == data
    assert await pull(last, Digest.of(layers[3])) == layers[3]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["fsck"], ["gc", "--dry-run"], ["rehydrate"], ["adopt"]])
async def test_the_commands_run(new_rig: OpenRig, tmp_path: Path, command: list[str]) -> None:
    import asyncio
    import sys

    rig = await new_rig()
    await rig.push_image("app", "v1", [noise(300_000, 3)])
    await rig.close()
    name, *options = command
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reducto", name, "--json", *options, "--upstream", str(tmp_path / "registry"), "app",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={"HOME": str(tmp_path), "PATH": "/usr/bin"},
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert set(json.loads(out)) == {"items", "summary"}


def _caller():  # type: ignore[no-untyped-def]
    from sidecar.maintenance.walk import SERVICE

    return SERVICE
