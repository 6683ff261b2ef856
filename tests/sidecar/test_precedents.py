"""An edge that holds an older layer rebuilds the next one beside it, with and without a token delta of the two."""

from __future__ import annotations

import asyncio
import json
import os
from functools import cache
from pathlib import Path

import pytest

from reducto.model import Digest
from sidecar import rebuild
from sidecar.maintenance.recompress import recompress
from sidecar.maintenance.walk import SERVICE
from sidecar.names import Repository
from tests.gzip.oracles import go_oracles
from tests.sidecar.conftest import OpenRig
from tests.support.images import library_layer
from tests.support.sidecar_rig import Rig

FOLLOWED = "reducto_rebuild_followed_bytes_total"
STATED = "reducto_rebuild_stated_bytes_total"
APP = Repository.parse("app")


@cache
def layers() -> tuple[bytes, bytes]:
    """Two versions of a real layer, as docker would compress them."""
    oracle = next(o for o in go_oracles() if o.name == "go-1.26-level6")
    return oracle.encode(library_layer(1).tar), oracle.encode(library_layer(2).tar)


@pytest.fixture(params=["searched", "stated"])
async def edge(request: pytest.FixtureRequest, new_rig: OpenRig) -> Rig:
    """A sidecar that has pulled the first version, and knows of the second what the upstream has."""
    origin = await new_rig(state="origin")
    for layer in layers():
        await origin.push_blob("app", layer)
    if request.param == "stated":
        await recompress(origin.running.sidecar, APP)
        assert await origin.metric("reducto_token_deltas_total") == 1
    await origin.close()
    edge = await new_rig(state="edge")
    assert (await edge.get_blob("app", Digest.of(layers()[0]))).body == layers()[0]
    return edge


async def test_an_older_layer_in_the_cache_helps(edge: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_HELP_SECONDS", 20)
    assert await edge.metric(FOLLOWED) == 0
    assert (await edge.get_blob("app", Digest.of(layers()[1]))).body == layers()[1]
    assert await edge.metric(FOLLOWED) > 0.8 * len(library_layer(2).tar)
    layer = await edge.running.sidecar.records.layer(SERVICE, APP, Digest.of(layers()[1]))
    assert layer is not None
    stated = await edge.metric(STATED)
    assert stated > 0.8 * len(library_layer(2).tar) if layer.token_delta else stated == 0


async def test_an_older_layer_helps_after_a_restart(
    edge: Rig, new_rig: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_HELP_SECONDS", 20)
    await edge.close()
    again = await new_rig(state="edge")
    assert (await again.get_blob("app", Digest.of(layers()[1]))).body == layers()[1]
    assert await again.metric(FOLLOWED) > 0.8 * len(library_layer(2).tar)


@pytest.mark.parametrize(
    "content", [b"", b'{"version": 2, "repositories": {}}', b'{"version": 1, "repositories": [7]}']
)
async def test_an_unreadable_list_of_served_layers_is_replaced(edge: Rig, new_rig: OpenRig, content: bytes) -> None:
    await edge.close()
    served = edge.folder / "cache" / "served.json"
    served.write_bytes(content)
    again = await new_rig(state="edge")
    for layer in layers():
        assert (await again.get_blob("app", Digest.of(layer))).body == layer
    await again.close()
    assert json.loads(served.read_bytes())["repositories"] == {"app": [str(Digest.of(each)) for each in layers()]}


async def test_help_that_never_comes_is_not_waited_for(edge: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(*_: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(edge.running.sidecar.precedents, "_at_hand", wait)
    async with asyncio.timeout(20):
        assert (await edge.get_blob("app", Digest.of(layers()[1]))).body == layers()[1]
    assert await edge.metric(FOLLOWED) == 0


async def test_a_layer_of_another_repository_does_not(edge: Rig, new_rig: OpenRig) -> None:
    await edge.push_blob("other", layers()[1])
    assert (await edge.get_blob("other", Digest.of(layers()[1]))).body == layers()[1]
    assert await edge.metric(FOLLOWED) == 0


async def test_a_damaged_older_layer_is_never_passed_on(edge: Rig) -> None:
    """It is met while bytes flow: then the answer breaks off, and the next one is right."""
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
    """Flips bits all over a file, of which its times and length tell nothing."""
    state, data = path.stat(), bytearray(path.read_bytes())
    for at in range(1000, len(data) - 1000, 5000):
        data[at] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
