"""Faults of the upstream and the disk: no acknowledged blob is lost, no wrong byte served, and no file left behind."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from reducto.config import LimitOptions, Policy, Role
from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.info import CorpusInfo
from reducto.kernel.chunking import ChunkParams
from reducto.values import Digest
from tests.sidecar.conftest import OpenRig
from tests.sidecar.samples import real_layer
from tests.support.faulty_proxy import FaultyProxy, Wanted
from tests.support.fixtures import StartRegistry
from tests.support.registries import Registry
from tests.support.sidecar_rig import MANIFEST, Rig

pytestmark = pytest.mark.integration

LAYER, NEXT = real_layer(1), real_layer(2)
STEPS: dict[str, Wanted] = {
    "session": lambda request: request.method == "POST",
    "blob": lambda request: request.method == "PUT" and "/blobs/" in request.path,
    "record": lambda request: request.method == "PUT" and "/manifests/" in request.path,
}


def reading(request: web.Request) -> bool:
    return request.method == "GET" and "/blobs/" in request.path


@pytest.fixture
async def registry(start_registry: StartRegistry) -> Registry:
    return await asyncio.to_thread(start_registry, "docker-registry")


@pytest.fixture
async def faulty(registry: Registry) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(registry.url) as proxy:
        yield proxy


@pytest.fixture
async def behind(new_rig: OpenRig, faulty: FaultyProxy) -> Rig:
    return await new_rig(upstream=faulty.url, read_timeout=1.0, retries=1)


async def check_clean(rig: Rig, registry: Registry, unknown: int = 0) -> None:
    """Checks that no spool file and no session is left, except ``unknown`` sessions whose answer from the registry was
    lost."""
    for _ in range(100):
        left = await asyncio.to_thread(left_behind, rig.folder / "spool")
        sessions = await asyncio.to_thread(open_sessions, registry)
        if not left and len(sessions) <= unknown and len(rig.running.sidecar.push.sessions) == 0:
            break
        await asyncio.sleep(0.05)
    assert (left, sessions[unknown:], len(rig.running.sidecar.push.sessions)) == ([], [], 0)


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def open_sessions(registry: Registry) -> list[str]:
    """The upload sessions that are open in docker-registry's storage."""
    return [path.parent.name for path in registry.storage.rglob("_uploads/*/startedat")]


async def forget(rig: Rig) -> None:
    """Empties the sidecar's caches of corpora."""
    corpora = rig.running.sidecar.references.corpora
    await asyncio.to_thread(corpora.empty)


@pytest.mark.parametrize("how", ["503", "cut"])
async def test_a_passing_fault_of_the_upstream_is_not_seen(behind: Rig, faulty: FaultyProxy, how: str) -> None:
    digest = await behind.push_blob("app", LAYER)
    await forget(behind)
    assert await behind.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == 1
    faulty.once(how, reading)
    answer = await behind.get_blob("app", digest)
    assert (answer.status, answer.body) == (200, LAYER)
    assert faulty.done == 1


@pytest.mark.parametrize("how", ["503", "cut", "lie", "hang"])
async def test_a_lasting_fault_gives_an_error_and_nothing_wrong(
    behind: Rig, faulty: FaultyProxy, registry: Registry, how: str
) -> None:
    digest = await behind.push_blob("app", LAYER)
    await forget(behind)
    faulty.always(how, reading)
    try:
        answer = await behind.get_blob("app", digest)
        assert answer.status in (500, 502, 503), answer.status
        assert answer.code
    except (
        aiohttp.ClientPayloadError,
        aiohttp.ClientConnectionError,
    ):  # The answer had begun and was broken off, so that no client takes it for the whole.
        assert how == "cut"
    faulty.behave()
    assert (await behind.get_blob("app", digest)).body == LAYER
    await check_clean(behind, registry)


@pytest.mark.parametrize("how", ["503", "cut", "lie", "hang"])
async def test_a_fault_with_manifests(behind: Rig, faulty: FaultyProxy, registry: Registry, how: str) -> None:
    """A request for a manifest, reduced or not, by tag or by digest, gives the right bytes or an error."""
    for tag, layer in (("reduced", LAYER), ("plain", b"small")):
        digest, data = await behind.push_image("app", tag, [layer])
        for lasting in (False, True):
            for reference in (tag, str(digest)):
                (faulty.always if lasting else faulty.once)(how, lambda request: "/manifests/" in request.path)
                try:
                    answer = await behind("GET", f"/v2/app/manifests/{reference}", headers={"Accept": MANIFEST})
                except aiohttp.ClientPayloadError:
                    assert how == "cut"
                    continue
                finally:
                    faulty.behave()
                stated = answer.headers.get("Docker-Content-Digest")
                right = answer.status == 200 and answer.body == data and stated == str(digest)
                assert right or answer.status in (500, 502, 503), answer
                assert right or lasting or how == "lie" or tag == "plain", "a passing fault is not seen"
        assert (await behind("GET", f"/v2/app/manifests/{tag}", headers={"Accept": MANIFEST})).body == data
    await check_clean(behind, registry)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["503", "cut", "hang"])
async def test_a_push_meets_a_fault(behind: Rig, faulty: FaultyProxy, registry: Registry, how: str, step: str) -> None:
    """A blob that was acknowledged in spite of the fault can be pulled; any other can be pushed again."""
    first = await behind.push_blob("app", LAYER)
    for lasting in (False, True):
        data = NEXT if lasting else real_layer(3)
        (faulty.always if lasting else faulty.once)(how, STEPS[step])
        acknowledged = await try_push(behind, data)
        assert faulty.done
        faulty.behave()
        found = await behind.get_blob("app", Digest.of(data))
        assert found.body == data or (found.status == 404 and not acknowledged)
        assert not (acknowledged and lasting and step != "record"), "only a record can be done without"
        assert await behind.push_blob("app", data) == Digest.of(data)
        assert (await behind.get_blob("app", Digest.of(data))).body == data
    await forget(behind)
    assert (await behind.get_blob("app", first)).body == LAYER
    lost_answers = faulty.done if (how, step) == ("cut", "session") else 0
    await check_clean(behind, registry, lost_answers)


async def try_push(rig: Rig, data: bytes) -> bool:
    started = await rig("POST", "/v2/app/blobs/uploads/")
    if started.status != 202:
        assert started.status in (500, 502, 503), started.status
        return False
    put = await rig("PUT", f"{started.headers['Location']}?digest={Digest.of(data)}", data=data)
    assert put.status == 201 or put.status in (500, 502, 503), (put.status, put.body)
    return put.status == 201


async def test_a_dead_upstream_is_503_with_retry_after(new_rig: OpenRig, faulty: FaultyProxy) -> None:
    rig = await new_rig(upstream=faulty.url, read_timeout=0.5, retries=1)
    faulty.how = lambda _: "hang"
    answer = await rig("GET", "/v2/app/manifests/v1")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert "Retry-After" in answer.headers


def damage(folder: Path, how: str) -> int:
    """Damages every file that is not small below ``folder``; returns how many."""
    victims = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 1000]
    for path in victims:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data if how == "flipped" else data[: len(data) // 2])
    return len(victims)


@pytest.mark.parametrize("how", ["flipped", "truncated"])
@pytest.mark.parametrize("victim", ["blobs", "corpora"])
async def test_damaged_cache_files_are_never_served(new_rig: OpenRig, victim: str, how: str) -> None:
    rig = await new_rig()
    digest = await rig.push_blob("app", LAYER)
    assert (await rig.get_blob("app", digest)).body == LAYER
    if how == "flipped":  # A mapped file must not shrink: Linux ends a process that reads behind the new end.
        assert await asyncio.to_thread(damage, rig.folder / "cache" / victim, how)
        assert (await rig.get_blob("app", digest)).body == LAYER
    await rig.close()
    assert await asyncio.to_thread(damage, rig.folder / "cache" / victim, how)
    if victim == "corpora":
        await asyncio.to_thread(empty, rig.folder / "cache" / "blobs")
    again = await new_rig(state="0")
    assert (await again.get_blob("app", digest)).body == LAYER
    following = await again.push_blob("app", NEXT)
    assert (await again.get_blob("app", following)).body == NEXT


def empty(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


async def test_a_layer_corpus_that_is_missing(new_rig: OpenRig, registry: Registry) -> None:
    """A client that pulls a layer which needs the corpus gets an error. Other pulls and pushes work without it."""
    rig = await new_rig(upstream=registry.url)
    digest = await rig.push_blob("app", LAYER)
    other = await rig.push_blob("other", LAYER)
    layer = await rig.repository("app").layer(digest)
    assert layer is not None
    for corpus in layer.corpora:
        assert await rig.repository("app").delete_blob(corpus.blob.digest)
    fresh = await new_rig(upstream=registry.url, state="fresh")
    answer = await fresh.get_blob("app", digest)
    assert (answer.status, answer.code) == (500, "REBUILD_FAILED")
    assert await fresh.metric("reducto_rebuild_failures_total") == 1
    assert (await fresh("HEAD", f"/v2/app/blobs/{digest}")).status == 404, "so that a client pushes it again"
    assert (await fresh.get_blob("other", other)).body == LAYER
    following = await fresh.push_blob("app", NEXT)
    assert (await fresh.get_blob("app", following)).body == NEXT
    for side in (rig, fresh):  # A repeated push repairs the layer, whatever caches and other sidecars have.
        assert await side.push_blob("app", LAYER) == digest
        last = await new_rig(upstream=registry.url, state=f"last-{side.folder.name}")
        assert (await last.get_blob("app", digest)).body == LAYER
    await check_clean(fresh, registry)


def write_base(path: Path, plain: bytes) -> None:
    with IndexedCorpusWriter(path, chunking=ChunkParams()) as writer:
        writer.append(plain)
        writer.finish(info=CorpusInfo("base", {}))


async def test_a_missing_base_corpus_is_named(new_rig: OpenRig, tmp_path: Path) -> None:
    path = tmp_path / "base.rc"
    await asyncio.to_thread(write_base, path, gzip.decompress(LAYER))
    rig = await new_rig(corpora=(str(path),))
    digest = await rig.push_blob("app", NEXT)
    assert await rig.metric("reducto_corpus_hit_rate") > 0.5
    without = await new_rig(state="without")
    answer = await without.get_blob("app", digest)
    assert (answer.status, answer.code) == (500, "REBUILD_FAILED")
    assert "CorpusMissing" in answer.body.decode()
    assert (await rig.get_blob("app", digest)).body == NEXT


async def test_an_attached_original_is_served_when_its_record_cannot_be_rebuilt(
    new_rig: OpenRig, tmp_path: Path
) -> None:
    """An edge does not have the base corpus that the record needs, and relays the original."""
    path = tmp_path / "base.rc"
    await asyncio.to_thread(write_base, path, gzip.decompress(LAYER))
    rig = await new_rig(corpora=(str(path),), policy=Policy.ATTACH)
    digest = await rig.push_blob("app", NEXT)
    edge = await new_rig(state="edge", role=Role.EDGE)
    assert (await edge.get_blob("app", digest)).body == NEXT
    part = await edge.get_blob("app", digest, headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, NEXT[100:200])
    assert await edge.metric("reducto_rebuild_failures_total") >= 1


async def test_an_idle_session_is_dropped_here_and_in_the_upstream(new_rig: OpenRig, registry: Registry) -> None:
    limits = LimitOptions(drain_timeout=2.0, upload_idle=1.0)
    rig = await new_rig(upstream=registry.url, limits=limits)
    location = (await rig("POST", "/v2/app/blobs/uploads/")).headers["Location"]
    assert (await rig("PATCH", location, data=LAYER[:100_000])).status == 202
    assert await asyncio.to_thread(open_sessions, registry)
    await asyncio.sleep(1.1)
    await rig.running.sidecar.drop_idle_uploads()
    assert (await rig("GET", location)).code == "BLOB_UPLOAD_UNKNOWN"
    await check_clean(rig, registry)


async def test_a_wrong_digest_is_refused_and_leaves_nothing(new_rig: OpenRig, registry: Registry) -> None:
    rig = await new_rig(upstream=registry.url)
    answer = await rig("POST", "/v2/app/blobs/uploads/")
    put = await rig("PUT", f"{answer.headers['Location']}?digest={Digest.of(b'other')}", data=LAYER)
    assert (put.status, put.code) == (400, "DIGEST_INVALID")
    await check_clean(rig, registry)


async def test_chunks_out_of_order_are_416(rig: Rig) -> None:
    location = (await rig("POST", "/v2/app/blobs/uploads/")).headers["Location"]
    assert (await rig("PATCH", location, data=b"abc", headers={"Content-Range": "0-2"})).status == 202
    late = await rig("PATCH", location, data=b"xyz", headers={"Content-Range": "6-8"})
    assert late.status == 416
    assert late.headers["Range"] == "0-2"
    assert (await rig("DELETE", location)).status == 204
    assert (await rig("GET", location)).code == "BLOB_UPLOAD_UNKNOWN"


async def test_the_same_layer_from_several_at_once(new_rig: OpenRig, registry: Registry) -> None:
    rig = await new_rig(upstream=registry.url)
    pushes = [rig.push_image("app", f"v{n}", [LAYER, NEXT]) for n in range(4)]
    images = await asyncio.gather(*pushes)
    await forget(rig)
    fresh = await new_rig(upstream=registry.url, state="fresh")
    for number, (_, manifest) in enumerate(images):
        found = await fresh("GET", f"/v2/app/manifests/v{number}", headers={"Accept": MANIFEST})
        assert found.body == manifest
    for data in (LAYER, NEXT):
        assert (await fresh.get_blob("app", Digest.of(data))).body == data
    for each in (rig, fresh):
        await check_clean(each, registry)
