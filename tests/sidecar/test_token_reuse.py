"""An edge with an older layer in its cache rebuilds the next one with its tokens, with or without a token delta."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from reducto.cli import main
from reducto.gzip import TokenDelta
from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.maintenance.fsck import check
from sidecar.maintenance.idle import improve
from sidecar.pull import rebuild
from sidecar.records.format import ImageRecord, LayerRecord
from tests.gzip.oracles import go_oracles
from tests.sidecar.conftest import OpenRig
from tests.support.images import library_layer
from tests.support.sidecar_rig import Rig

FOLLOWED = "reducto_rebuild_followed_bytes_total"
STATED = "reducto_rebuild_stated_bytes_total"
APP = RepositoryName.parse("app")


@cache
def layers() -> tuple[bytes, bytes]:
    """Two versions of a real layer, compressed as docker does it."""
    oracle = next(o for o in go_oracles() if o.name == "go-1.26-level6")
    return oracle.encode(library_layer(1).tar), oracle.encode(library_layer(2).tar)


@pytest.fixture
async def origin(new_rig: OpenRig) -> Rig:
    """A sidecar through which both versions were pushed, and that has computed their token delta."""
    origin = await new_rig(state="origin")
    await push_both(origin)
    await improve(origin.running.sidecar, APP)
    assert await origin.metric("reducto_token_deltas_total") == 1
    return origin


@pytest.fixture(params=["searched", "stated", "encrypted"])
async def edge(request: pytest.FixtureRequest, new_rig: OpenRig, tmp_path: Path) -> Rig:
    """A sidecar that has the first version in its cache. The second is in the upstream alone."""
    keys = ()
    if request.param == "encrypted":
        assert main(["keys", "generate", str(tmp_path / "kek.key"), "--kind", "kek"]) == 0
        keys = (str(tmp_path / "kek.key"),)
    origin = await new_rig(state="origin", encryption_keys=keys)
    await push_both(origin)
    if request.param != "searched":
        await improve(origin.running.sidecar, APP)
    await origin.close()
    edge = await new_rig(state="edge", encryption_keys=keys)
    assert (await edge.get_blob("app", Digest.of(layers()[0]))).body == layers()[0]
    return edge


async def push_both(origin: Rig) -> None:
    for layer in layers():
        await origin.push_blob("app", layer)


async def record_of(rig: Rig, repository: str = "app") -> LayerRecord:
    """The record of the second version."""
    layer = await rig.running.sidecar.repository(RepositoryName.parse(repository)).layer(Digest.of(layers()[1]))
    assert layer is not None
    return layer


@pytest.mark.slow
async def test_an_older_layer_in_the_cache_helps(edge: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_DONOR_WAIT_SECONDS", 20)
    assert await edge.metric(FOLLOWED) == 0
    assert (await edge.get_blob("app", Digest.of(layers()[1]))).body == layers()[1]
    assert await edge.metric(FOLLOWED) > 0.8 * len(library_layer(2).tar)
    stated = await edge.metric(STATED)
    assert stated > 0.8 * len(library_layer(2).tar) if (await record_of(edge)).token_delta else stated == 0


@pytest.mark.slow
async def test_an_older_layer_helps_after_a_restart(
    edge: Rig, new_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_DONOR_WAIT_SECONDS", 20)
    await edge.close()
    again = await new_rig(state="edge", encryption_keys=edge.running.sidecar.config.security.encryption.keys)
    assert (await again.get_blob("app", Digest.of(layers()[1]))).body == layers()[1]
    assert await again.metric(FOLLOWED) > 0.8 * len(library_layer(2).tar)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [b"", b'{"version": 2, "repositories": {}}', b'{"version": 1, "repositories": [7]}']
)
async def test_an_unreadable_list_of_served_layers_is_replaced(edge: Rig, new_rig: OpenRig, content: bytes) -> None:
    await edge.close()
    served = edge.folder / "cache" / "served.json"
    served.write_bytes(content)
    again = await new_rig(state="edge", encryption_keys=edge.running.sidecar.config.security.encryption.keys)
    for layer in layers():
        assert (await again.get_blob("app", Digest.of(layer))).body == layer
    await again.close()
    assert json.loads(served.read_bytes())["repositories"] == {"app": [str(Digest.of(each)) for each in layers()]}


@pytest.mark.slow
async def test_a_search_for_donors_that_never_ends_is_not_waited_for(
    edge: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(*_: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(edge.running.sidecar.pull.token_reuse, "_cached_file", wait)
    async with asyncio.timeout(20):
        assert (await edge.get_blob("app", Digest.of(layers()[1]))).body == layers()[1]
    assert await edge.metric(FOLLOWED) == 0


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["gone", "changed"])
async def test_a_token_delta_that_is_lost_or_damaged_costs_only_time(
    origin: Rig, new_rig: OpenRig, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_DONOR_WAIT_SECONDS", 20)
    delta = (await record_of(origin)).token_delta
    assert delta is not None
    blob = tmp_path / "registry" / "app" / "_oci" / "blobs" / "sha256" / delta.blob.digest.hex
    if damage == "gone":
        await asyncio.to_thread(blob.unlink)
    else:
        await asyncio.to_thread(_damage, blob)
    edge = await new_rig(state="edge")
    for layer in layers():
        assert (await edge.get_blob("app", Digest.of(layer))).body == layer
    assert await edge.metric(STATED) == 0
    assert await edge.metric(FOLLOWED) > 0.8 * len(library_layer(2).tar), "it is followed as without a delta"
    assert not [each.trouble for each in await check(edge.running.sidecar, APP) if each.trouble]


@pytest.mark.slow
async def test_a_false_token_delta_is_met_before_the_last_bytes_leave(
    origin: Rig, new_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody who can write records can write a false token delta. The layer is then rebuilt without it."""
    monkeypatch.setattr(rebuild, "_DONOR_WAIT_SECONDS", 20)
    sidecar, layer = origin.running.sidecar, await record_of(origin)
    assert layer.token_delta is not None
    real = TokenDelta.from_bytes(
        await sidecar.pull.decoders.token_delta(sidecar.repository(APP), layer, layer.token_delta)
    )
    deltas = [bytes([each[0] ^ 4]) + each[1:] if each else each for each in real.deltas]
    forged = replace(real, deltas=deltas).to_bytes()
    blob = replace(layer.token_delta.blob, digest=Digest.of(forged), size=len(forged))
    await sidecar.repository(APP).put_blob(blob.digest, forged)
    await sidecar.repository(APP).put_layer(replace(layer, token_delta=replace(layer.token_delta, blob=blob)))
    edge = await new_rig(state="edge")
    assert (await edge.get_blob("app", Digest.of(layers()[0]))).body == layers()[0]
    for attempt in range(2):
        try:
            answer = await edge.get_blob("app", Digest.of(layers()[1]))
        except OSError:
            assert attempt == 0
            continue
        assert answer.body == layers()[1]
        return
    raise AssertionError("the layer cannot be had")


@pytest.mark.slow
async def test_an_image_record_carries_the_token_delta(origin: Rig, new_rig: OpenRig) -> None:
    """An image that another tool copied by its tag alone is rebuilt as fast from the other registry."""
    digest, _ = await origin.push_image("app", "v2", [layers()[1]])
    held = await origin.running.sidecar.repository(APP).manifest_record(digest)
    assert held is not None
    assert isinstance(held.record, ImageRecord)
    assert held.record.layers[0].token_delta == (await record_of(origin)).token_delta


async def test_a_mount_leaves_the_token_delta_behind(origin: Rig) -> None:
    digest = Digest.of(layers()[1])
    answer = await origin("POST", f"/v2/other/blobs/uploads/?mount={digest}&from=app")
    assert answer.status == 201
    assert (await record_of(origin)).token_delta is not None
    assert (await record_of(origin, "other")).token_delta is None
    assert (await origin.get_blob("other", digest)).body == layers()[1]


async def test_token_deltas_can_be_switched_off(new_rig: OpenRig) -> None:
    origin = await new_rig(state="origin")
    sidecar = origin.running.sidecar
    quiet = replace(sidecar.config.recompression, token_deltas=False)
    sidecar.config = replace(sidecar.config, recompression=quiet)
    await push_both(origin)
    await improve(sidecar, APP)
    assert (await record_of(origin)).token_delta is None


@pytest.mark.slow
async def test_a_layer_of_another_repository_does_not(edge: Rig, new_rig: OpenRig) -> None:
    await edge.push_blob("other", layers()[1])
    assert (await edge.get_blob("other", Digest.of(layers()[1]))).body == layers()[1]
    assert await edge.metric(FOLLOWED) == 0


@pytest.mark.slow
async def test_a_damaged_older_layer_is_never_passed_on(edge: Rig) -> None:
    """The damage is noticed while bytes are sent. That answer breaks off, and the next one is right."""
    digest, newer = Digest.of(layers()[0]), layers()[1]
    await asyncio.to_thread(_damage, edge.folder / "cache" / "blobs" / "sha256" / digest.hex)
    for attempt in range(2):
        try:
            answer = await edge.get_blob("app", Digest.of(newer))
        except OSError:
            assert attempt == 0
            continue
        assert answer.body == newer
        return
    raise AssertionError("the layer cannot be had")


def _damage(path: Path) -> None:
    """Flips bits all over a file, whose times and length stay the same."""
    state, data = path.stat(), bytearray(path.read_bytes())
    for at in range(1000, len(data) - 1000, 5000):
        data[at] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
