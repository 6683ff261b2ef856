"""Background tasks in a running sidecar: what fails is started again, and nothing else stands still meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from reducto.config import RecompressionOptions, Seconds
from reducto.oci.names import RepositoryName
from sidecar.runtime.supervisor import GrowingPauses
from tests.sidecar.samples import text
from tests.support.faulty_proxy import FaultyProxy
from tests.support.fixtures import StartRegistry
from tests.support.sidecar_rig import Answer, Rig, layer_gzip, make_config, open_rig, until

pytestmark = pytest.mark.integration

QUICK = GrowingPauses(first_seconds=0.01, longest_seconds=0.1)
BAD, GOOD = RepositoryName("team/bad"), RepositoryName("team/good")


def layers(seed: int) -> list[bytes]:
    return [layer_gzip({f"f{n}": text(300_000, seed + n + version) for n in range(4)}) for version in (0, 1)]


@pytest.fixture
async def upstream(start_registry: StartRegistry) -> AsyncIterator[FaultyProxy]:
    """A registry whose answers can be spoilt."""
    registry = await asyncio.to_thread(start_registry, "docker-registry")
    async with FaultyProxy(registry.url) as proxy:
        yield proxy


@pytest.fixture
async def rig(tmp_path: Path, upstream: FaultyProxy) -> AsyncIterator[Rig]:
    """A sidecar before it that recompresses soon, and tries again soon."""
    config = make_config(tmp_path / "sidecar", upstream.url)
    config = replace(config, recompression=RecompressionOptions(idle_after=Seconds(0.05)))
    rig = await open_rig(tmp_path / "sidecar", config, pauses=QUICK)
    rig.running.sidecar.push.idle_queue.retry_pauses = QUICK
    yield rig
    await rig.close()


async def readiness(rig: Rig, check: Callable[[dict[str, Any]], bool]) -> Answer:
    """The first answer of ``/health/ready`` whose document passes the check."""
    answer = await rig.control("/health/ready")

    async def passes() -> bool:
        nonlocal answer
        answer = await rig.control("/health/ready")
        return check(answer.json)

    await until(passes)
    return answer


async def failures(rig: Rig, task: str) -> float:
    return await rig.metric("reducto_background_task_failures_total", task=task)


async def test_a_malformed_listing_does_not_end_idle_recompression(rig: Rig, upstream: FaultyProxy) -> None:
    waiting = rig.running.sidecar.push.idle_queue

    def listing(request: web.Request) -> bool:
        return request.method == "GET" and request.path == f"/v2/{BAD}/tags/list"

    upstream.always("garble", listing)
    await rig.push_image(BAD.name, "v1", layers(3))
    answer = await readiness(rig, lambda document: "recompression" in document["warnings"])
    assert (answer.status, answer.json["ready"], answer.json["problems"]) == (200, True, {}), "clients are served"
    assert "times in a row" in answer.json["warnings"]["recompression"]
    assert await failures(rig, "recompression") >= 3
    assert (await rig.control("/health/live")).json == {"status": "alive"}

    # Another repository's turn comes although the first one still fails, and the first one waits on.
    await rig.push_image(GOOD.name, "v1", layers(20))
    await until(lambda: waiting.repositories == [BAD])
    assert await rig.metric("reducto_recompressed_bytes_saved_total") > 0

    saved = await rig.metric("reducto_recompressed_bytes_saved_total")
    upstream.behave()
    await until(lambda: not waiting.repositories)
    assert await rig.metric("reducto_recompressed_bytes_saved_total") > saved
    assert (await rig.control("/health/ready")).json["warnings"] == {}


async def test_a_registry_that_lets_no_service_in_is_not_asked_again(rig: Rig, upstream: FaultyProxy) -> None:
    upstream.always("401", lambda request: request.path == f"/v2/{BAD}/tags/list")
    await rig.push_image(BAD.name, "v1", layers(40))
    await until(lambda: not rig.running.sidecar.push.idle_queue.repositories)
    assert await failures(rig, "recompression") == 0


async def test_a_task_that_clients_need_makes_the_sidecar_unready_while_it_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = rig.running.sidecar.push.sessions

    async def fail() -> None:
        raise KeyError("upload")

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "expire", fail)
        supervisor = rig.running.supervisor
        supervisor.every("expire-soon", 0.01, rig.running.sidecar.drop_idle_uploads, needed_to_serve=True)
        answer = await readiness(rig, lambda document: not document["ready"])
        assert answer.status == 503
        assert "KeyError: 'upload'" in answer.json["problems"]["expire-soon"]
    assert (await readiness(rig, lambda document: document["ready"])).status == 200
