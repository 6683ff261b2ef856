"""A client pulls the bytes that it pushed, however they were stored, and sees nothing of how that was done."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from reducto.codec import BlobEncoder, Reduced
from reducto.config import Policy, Role, Scope
from reducto.values import Digest
from sidecar.maintenance.gc import sweep
from sidecar.records.format import CONFIG_DESCRIPTOR
from sidecar.records.repository import Repository
from sidecar.records.tags import record_tag
from tests.codec.samples import words
from tests.sidecar.conftest import OpenRig
from tests.support.fixtures import StartRegistry
from tests.support.sidecar_rig import INDEX, MANIFEST, Rig, descriptor, noise

LAYER = words(600_000, 1)
NEXT = LAYER[:204_800] + noise(12 * 4096, 2) + LAYER[204_800:]


def _broken(*_: object) -> Reduced:
    raise RuntimeError("broken on request")


def blob_files(rig: Rig, repository: str) -> set[str]:
    home = rig.folder.parent / "registry" / repository / "_oci" / "blobs" / "sha256"
    return {path.name for path in home.iterdir()}


async def test_a_reduced_blob_comes_back_bit_for_bit(rig: Rig) -> None:
    digest = await rig.push_blob("team/app", LAYER, pieces=5)
    assert digest.hex not in blob_files(rig, "team/app"), "the original is not stored"
    answer = await rig.get_blob("team/app", digest)
    assert (answer.status, answer.body) == (200, LAYER)
    assert answer.headers["Content-Length"] == str(len(LAYER))
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_head_says_what_get_gives(rig: Rig) -> None:
    digest = await rig.push_blob("app", LAYER)
    head = await rig("HEAD", f"/v2/app/blobs/{digest}")
    get = await rig.get_blob("app", digest)
    assert head.status == get.status == 200
    for name in ("Content-Length", "Docker-Content-Digest", "Content-Type", "ETag", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]


async def test_a_second_layer_costs_its_difference(rig: Rig) -> None:
    await rig.push_blob("app", LAYER)
    before = await rig.metric("reducto_layer_stored_bytes_total")
    digest = await rig.push_blob("app", NEXT)
    assert await rig.metric("reducto_layer_stored_bytes_total") - before < 80_000
    assert (await rig.get_blob("app", digest)).body == NEXT


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, len(LAYER)),
        ("bytes=1000-1999", 1000, 2000),
        ("bytes=-77", len(LAYER) - 77, len(LAYER)),
        (f"bytes=5-{len(LAYER) * 2}", 5, len(LAYER)),
    ],
)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_ranges(rig: Rig, header: str, start: int, stop: int, warm: bool) -> None:
    digest = await rig.push_blob("app", LAYER)
    if warm:
        await rig.get_blob("app", digest)
    answer = await rig.get_blob("app", digest, headers={"Range": header})
    assert (answer.status, answer.body) == (206, LAYER[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LAYER)}"


async def test_a_range_beyond_the_end_is_refused(rig: Rig) -> None:
    digest = await rig.push_blob("app", LAYER)
    answer = await rig.get_blob("app", digest, headers={"Range": f"bytes={len(LAYER)}-"})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(LAYER)}"


async def test_many_ranges_at_once_share_one_rebuild(rig: Rig) -> None:
    digest = await rig.push_blob("app", LAYER)
    spans = [(at, min(at + 20_000, len(LAYER))) for at in range(0, len(LAYER), 20_000)]
    answers = await asyncio.gather(
        *(rig.get_blob("app", digest, headers={"Range": f"bytes={a}-{b - 1}"}) for a, b in spans)
    )
    assert b"".join(answer.body for answer in answers) == LAYER
    assert await rig.metric("reducto_rebuild_seconds_count") == 1


async def test_an_image_is_served_as_it_was_pushed(rig: Rig) -> None:
    digest, data = await rig.push_image("app", "v1", [LAYER])
    for reference in ("v1", str(digest)):
        answer = await rig("GET", f"/v2/app/manifests/{reference}", headers={"Accept": MANIFEST})
        assert (answer.status, answer.body) == (200, data)
        assert answer.headers["Docker-Content-Digest"] == str(digest)
        assert answer.headers["Content-Type"] == MANIFEST
        head = await rig("HEAD", f"/v2/app/manifests/{reference}", headers={"Accept": MANIFEST})
        assert head.headers["Content-Length"] == str(len(data))
    assert digest.hex not in blob_files(rig, "app"), "a record stands for the manifest"


async def test_records_are_hidden_and_refused(rig: Rig) -> None:
    digest, _ = await rig.push_image("app", "v1", [LAYER])
    assert await rig.tags("app") == ["v1"]
    name = record_tag(digest)
    assert (await rig("GET", f"/v2/app/manifests/{name}")).code == "MANIFEST_UNKNOWN"
    assert (await rig("HEAD", f"/v2/app/manifests/{name}")).status == 404
    assert (await rig.put_manifest("app", str(name), b"{}")).code == "TAG_INVALID"
    assert (await rig("DELETE", f"/v2/app/manifests/{name}")).status == 404
    record = await rig.repository("app").manifest(name)
    assert record is not None
    assert (await rig("GET", f"/v2/app/manifests/{record.digest}")).code == "MANIFEST_UNKNOWN"


async def test_tag_pages_are_full_although_record_tags_are_left_out(rig: Rig) -> None:
    for tag in ("a1", "b1", "s1", "t1", "u1"):
        await rig.push_image("app", tag, [LAYER + tag.encode()])
    seen, target = [], "/v2/app/tags/list?n=2"
    while target:
        answer = await rig("GET", target)
        page = answer.json["tags"]
        assert len(page) == 2 or "Link" not in answer.headers
        seen += page
        link = answer.headers.get("Link", "")
        target = link[1 : link.index(">")] if link else ""
    assert seen == ["a1", "b1", "s1", "t1", "u1"]


async def test_an_image_without_reduced_layers_is_stored_untouched(rig: Rig) -> None:
    digest, _ = await rig.push_image("app", "plain", [noise(300_000, 3)])
    assert digest.hex in blob_files(rig, "app")
    assert await rig.metric("reducto_decisions_total", outcome="stored", reason="no-gain") == 1


async def test_a_broken_encoder_costs_space_not_the_push(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlobEncoder, "finish", _broken)
    digest = await rig.push_blob("app", LAYER)
    assert digest.hex in blob_files(rig, "app")
    assert (await rig.get_blob("app", digest)).body == LAYER
    assert await rig.metric("reducto_reduce_failures_total") == 1


async def test_deleting_an_image_deletes_its_record(rig: Rig) -> None:
    digest, _ = await rig.push_image("app", "v1", [LAYER])
    assert (await rig("DELETE", f"/v2/app/manifests/{digest}")).status == 202
    for reference in ("v1", str(digest)):
        assert (await rig("GET", f"/v2/app/manifests/{reference}")).status == 404
    assert await rig.tags("app") == []


async def test_deleting_a_reduced_blob(rig: Rig) -> None:
    digest = await rig.push_blob("app", LAYER)
    assert (await rig("DELETE", f"/v2/app/blobs/{digest}")).status == 202
    assert (await rig("HEAD", f"/v2/app/blobs/{digest}")).status == 404
    assert (await rig.get_blob("app", digest)).code == "BLOB_UNKNOWN"


async def test_an_index_names_its_childrens_records(rig: Rig) -> None:
    children = [await rig.push_image("app", f"arch{n}", [LAYER + bytes([n])]) for n in range(2)]
    plain = await rig.push_image("app", "arch2", [noise(100_000, 4)])
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor(data, MANIFEST) for _, data in [*children, plain]],
    }
    data = json.dumps(document).encode()
    assert (await rig.put_manifest("app", "multi", data, INDEX)).status == 201
    answer = await rig("GET", "/v2/app/manifests/multi", headers={"Accept": INDEX})
    assert (answer.body, answer.headers["Content-Type"]) == (data, INDEX)
    repository = rig.repository("app")
    stored = await repository.manifest(record_tag(Digest.of(data)))
    assert stored is not None
    for child in json.loads(stored.data)["manifests"]:
        assert await repository.manifest(Digest.parse(child["digest"])) is not None


async def test_an_artifact_with_a_subject_is_listed_as_what_it_was(rig: Rig) -> None:
    subject, manifest = await rig.push_image("app", "v1", [LAYER])
    extra = {"subject": descriptor(manifest, MANIFEST), "artifactType": "application/x.sbom", "annotations": {"a": "b"}}
    digest, data = await rig.push_image("app", "sbom", [NEXT], **extra)
    for query in ("", "?artifactType=application/x.sbom"):
        answer = await rig("GET", f"/v2/app/referrers/{subject}{query}")
        (item,) = answer.json["manifests"]
        assert (item["digest"], item["size"], item["mediaType"]) == (str(digest), len(data), MANIFEST)
        assert (item["artifactType"], item["annotations"]) == ("application/x.sbom", {"a": "b"})
    assert (await rig("GET", f"/v2/app/referrers/{subject}?artifactType=other")).json["manifests"] == []


async def test_a_manifest_near_the_limit(rig: Rig) -> None:
    layer = await rig.push_blob("app", LAYER)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [{"mediaType": "application/x", "digest": str(layer), "size": len(LAYER)}],
        "annotations": {"big": noise(1_500_000).hex()},
    }
    await rig.push_blob("app", b"{}")
    data = json.dumps(document).encode()
    assert (await rig.put_manifest("app", "big", data)).status == 201
    assert (await rig("GET", "/v2/app/manifests/big")).body == data


@pytest.mark.integration
async def test_a_large_manifest_is_gone_when_it_is_deleted(new_rig: OpenRig, start_registry: StartRegistry) -> None:
    """docker-registry would serve an overflow blob as a manifest if the blob had the manifest's digest."""
    registry = await asyncio.to_thread(start_registry, "docker-registry")
    rig = await new_rig(upstream=registry.url)
    digest, data = await rig.push_image("app", "big", [LAYER], annotations={"big": noise(1_500_000).hex()})
    assert (await rig("GET", f"/v2/app/manifests/{digest}")).body == data
    assert (await rig("DELETE", f"/v2/app/manifests/{digest}")).status == 202
    for reference in ("big", str(digest)):
        assert (await rig("GET", f"/v2/app/manifests/{reference}", headers={"Accept": MANIFEST})).status == 404


async def test_an_index_near_the_limit(new_rig: OpenRig) -> None:
    rig = await new_rig()
    child, data = await rig.push_image("app", "arch", [LAYER])
    note = {"io.reducto.manifest": "a pusher's own words"}
    named = {**descriptor(data, MANIFEST), "annotations": note}
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named], "annotations": {"x": "y" * 3_900_000}}
    index = json.dumps(document).encode()
    assert (await rig.put_manifest("app", "big", index, INDEX)).status == 201
    await sweep(rig.running.sidecar, 0.0)
    fresh = await new_rig(state="fresh")
    for side in (rig, fresh):
        for reference in ("big", str(Digest.of(index))):
            assert (await side("GET", f"/v2/app/manifests/{reference}", headers={"Accept": INDEX})).body == index
    assert (await rig("GET", f"/v2/app/manifests/{child}", headers={"Accept": MANIFEST})).body == data
    assert (await rig("DELETE", f"/v2/app/manifests/{Digest.of(index)}")).status == 202
    assert (await rig("GET", "/v2/app/manifests/big", headers={"Accept": INDEX})).status == 404


async def test_a_mount_carries_a_reduced_layer_over(rig: Rig) -> None:
    digest = await rig.push_blob("one", LAYER)
    answer = await rig("POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one")
    assert answer.status == 201
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    assert (await rig.get_blob("two", digest)).body == LAYER
    unknown = await rig("POST", f"/v2/two/blobs/uploads/?mount={Digest.of(b'nothing')}&from=one")
    assert unknown.status == 202


@pytest.mark.parametrize(
    ("scope", "other", "shared"),
    [
        (Scope.REPOSITORY, "team/b", False),
        (Scope.NAMESPACE, "team/b", True),
        (Scope.NAMESPACE, "others/b", False),
        (Scope.REGISTRY, "others/b", True),
    ],
)
async def test_corpora_of_other_scopes_are_not_used(new_rig: OpenRig, scope: Scope, other: str, shared: bool) -> None:
    rig = await new_rig(scope=scope)
    await rig.push_blob("team/a", LAYER)
    before = await rig.metric("reducto_layer_stored_bytes_total")
    digest = await rig.push_blob(other, NEXT)
    stored = await rig.metric("reducto_layer_stored_bytes_total") - before
    assert (stored < 80_000) is shared
    assert (await rig.get_blob(other, digest)).body == NEXT


async def test_a_fresh_sidecar_serves_everything_and_finds_similar_corpora(new_rig: OpenRig) -> None:
    first = await new_rig(state="one")
    digest, data = await first.push_image("app", "v1", [LAYER])
    await first.close()
    fresh = await new_rig(state="two")
    assert (await fresh("GET", "/v2/app/manifests/v1")).body == data
    assert (await fresh("GET", f"/v2/app/manifests/{digest}")).body == data
    assert (await fresh.get_blob("app", Digest.of(LAYER))).body == LAYER
    await fresh.push_blob("app", NEXT)
    assert await fresh.metric("reducto_layer_stored_bytes_total") < 80_000


async def test_encoders_that_wait_for_corpora_leave_workers_that_make_these(new_rig: OpenRig) -> None:
    old = words(900_000)
    first = await new_rig(state="one")
    await first.push_blob("app", old)
    await first.close()
    fresh = await new_rig(state="two", workers=1)
    others = [old[:200_000] + noise(20_000, seed) + old[200_000:] for seed in (3, 4, 5)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(fresh.push_blob("app", other) for other in others))
    assert await fresh.metric("reducto_layer_stored_bytes_total") < 150_000


async def test_records_copied_by_another_tool_are_found(new_rig: OpenRig) -> None:
    rig = await new_rig()
    digest, data = await rig.push_image("app", "v1", [LAYER])
    source, target = rig.repository("app"), rig.repository("copy")
    record = await source.manifest(digest_or_tag := record_tag(digest))
    assert record is not None
    document = json.loads(record.data)
    for item in [document["config"], *document["layers"]]:
        assert await target.mount_blob(Digest.parse(item["digest"]), source.name) is None
    await target.put_manifest(type(digest_or_tag)("v1"), record.data, MANIFEST)
    fresh = await new_rig(state="fresh")
    assert (await fresh.get_blob("copy", Digest.of(LAYER))).body == LAYER
    assert (await fresh("GET", f"/v2/copy/manifests/{digest}")).body == data


async def test_attach_keeps_originals(new_rig: OpenRig) -> None:
    rig = await new_rig(policy=Policy.ATTACH)
    digest, data = await rig.push_image("app", "v1", [LAYER])
    assert {digest.hex, Digest.of(LAYER).hex} <= blob_files(rig, "app")
    edge = await new_rig(state="edge", role=Role.EDGE)
    assert (await edge("GET", "/v2/app/manifests/v1")).body == data
    assert (await edge.get_blob("app", Digest.of(LAYER))).body == LAYER
    assert await edge.metric("reducto_rebuild_seconds_count") == 1


async def test_switched_off_it_still_serves_what_was_reduced(new_rig: OpenRig) -> None:
    first = await new_rig(state="one")
    await first.push_blob("app", LAYER)
    await first.close()
    rig = await new_rig(state="two", enabled=False)
    assert (await rig.get_blob("app", Digest.of(LAYER))).body == LAYER
    digest = await rig.push_blob("app", NEXT)
    assert digest.hex in blob_files(rig, "app")


async def test_the_cache_is_bounded(new_rig: OpenRig) -> None:
    rig = await new_rig(cache_bytes=700_000)
    layers = [words(300_000, seed) for seed in range(5, 9)]
    for layer in layers:
        await rig.push_blob("app", layer)
    for layer in layers:
        assert (await rig.get_blob("app", Digest.of(layer))).body == layer
    assert await rig.metric("reducto_cache_bytes") <= 700_000
    assert await rig.metric("reducto_cache_evictions_total") == 2


async def test_same_layer_pushed_by_two_at_once(rig: Rig) -> None:
    await asyncio.gather(*(rig.push_blob("app", LAYER, pieces=3) for _ in range(4)))
    assert (await rig.get_blob("app", Digest.of(LAYER))).body == LAYER
    assert list((rig.folder / "spool").glob("*/upload-*")) == []


async def test_pushes_at_once_store_the_config_of_records_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-registry refuses a manifest that it verifies while one of its blobs is being uploaded once more."""
    stored: list[Digest] = []
    put_blob = Repository.put_blob

    async def noted(self: Repository, digest: Digest, *more: Any) -> int:
        stored.append(digest)
        return await put_blob(self, digest, *more)

    monkeypatch.setattr(Repository, "put_blob", noted)
    await asyncio.gather(*(rig.push_blob("new/app", words(300_000, seed)) for seed in range(6)))
    assert await rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == 6
    assert stored.count(CONFIG_DESCRIPTOR.digest) == 1
