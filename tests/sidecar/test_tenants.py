"""Two tenants behind one sidecar: what one of them stores never decides what the other one gets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from reducto.values import Descriptor, Digest
from sidecar.records.format import PACKED_CORPUS_TYPE, LayerRecord
from tests.codec.samples import words
from tests.sidecar.conftest import OpenRig
from tests.support.sidecar_rig import Rig, noise

LAYER = words(3_000_000, 1)
NEXT = LAYER[:1_500_000] + noise(20_000, 2) + LAYER[1_500_000:]


async def victims_layer(rig: Rig) -> LayerRecord:
    """Pushes a layer into the victim's repository; returns its record, which has a corpus of its own."""
    layer = await rig.repository("victim/app").layer(await rig.push_blob("victim/app", LAYER))
    assert layer is not None
    assert layer.corpora
    return layer


async def forge(rig: Rig, layer: LayerRecord, corpus: bytes) -> LayerRecord:
    """Stores a record for the same layer in the attacker's repository, with ``corpus`` under the true identities."""
    attacker = rig.repository("attacker/app")
    instructions = await rig.repository("victim/app").read_blob(layer.instructions, 1 << 20)
    await attacker.put_blob(layer.instructions.digest, instructions)
    await attacker.put_blob(Digest.of(corpus), corpus)
    blob = Descriptor(PACKED_CORPUS_TYPE, Digest.of(corpus), len(corpus))
    forged = replace(layer, corpora=tuple(replace(each, blob=blob) for each in layer.corpora))
    await attacker.put_layer(forged)
    return forged


def forget_rebuilt_blobs(rig: Rig) -> None:
    for path in (rig.folder / "cache" / "blobs").glob("sha*/*"):
        path.unlink()


async def packed_of(rig: Rig, layer: LayerRecord) -> bytes:
    return await rig.repository("victim/app").read_blob(layer.corpora[-1].blob, 1 << 24)


async def test_an_identity_is_no_right_to_a_corpus_at_hand(rig: Rig) -> None:
    layer = await victims_layer(rig)
    assert (await rig.get_blob("victim/app", layer.digest)).body == LAYER  # its corpus is at hand now
    await forge(rig, layer, b"garbage, under the identity of the victim's corpus")
    await asyncio.to_thread(forget_rebuilt_blobs, rig)
    answer = await rig.get_blob("attacker/app", layer.digest)
    assert answer.status >= 400, "the attacker's own blob does not hold the corpus"
    assert LAYER[:200] not in answer.body


async def test_a_forged_record_breaks_no_other_repository(new_rig: OpenRig) -> None:
    rig = await new_rig(state="one")
    layer = await victims_layer(rig)
    packed = await packed_of(rig, layer)
    for corpus in (b"garbage", packed[:-40], packed[:100] + bytes([packed[100] ^ 1]) + packed[101:]):
        await forge(rig, layer, corpus)
        for state in ("one", "two"):
            side = rig if state == "one" else await new_rig(state=f"cold{len(corpus)}")
            await asyncio.to_thread(forget_rebuilt_blobs, side)
            assert (await side.get_blob("attacker/app", layer.digest)).status >= 400
            assert (await side.get_blob("victim/app", layer.digest)).body == LAYER
            following = await side.push_blob("victim/app", NEXT)
            assert (await side.get_blob("victim/app", following)).body == NEXT


async def test_a_second_push_heals_what_a_forged_record_broke(rig: Rig) -> None:
    layer = await victims_layer(rig)
    await forge(rig, layer, b"garbage")
    assert (await rig.get_blob("attacker/app", layer.digest)).status >= 400
    assert (await rig("HEAD", f"/v2/attacker/app/blobs/{layer.digest}")).status == 404, "a client pushes it again"
    assert await rig.push_blob("attacker/app", LAYER) == layer.digest
    assert (await rig.get_blob("attacker/app", layer.digest)).body == LAYER


async def test_a_wrong_length_is_noticed_before_the_first_byte(rig: Rig, tmp_path: Path) -> None:
    layer = await victims_layer(rig)
    for wrong in (1, len(LAYER) - 1, len(LAYER) + 1, 10 * len(LAYER)):
        await rig.repository("victim/app").put_layer(replace(layer, wire_length=wrong))
        for cold in (False, True):
            if cold:
                await asyncio.to_thread(forget_rebuilt_blobs, rig)
            async with asyncio.timeout(20):
                answer = await rig.get_blob("victim/app", layer.digest)
            assert (answer.status, answer.code) == (500, "REBUILD_FAILED"), (wrong, cold)
    assert await rig.push_blob("victim/app", LAYER) == layer.digest
    assert (await rig.get_blob("victim/app", layer.digest)).body == LAYER
