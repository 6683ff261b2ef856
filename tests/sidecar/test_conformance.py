"""The OCI conformance suites pass through the sidecar, with every blob reduced, as they pass on the bare registry."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sidecar.conftest import OpenRig
from tests.support.conformance import run_conformance, run_conformance_next, worse
from tests.support.fixtures import StartRegistry
from tests.support.requirements import require_tool
from tests.support.sidecar_rig import Rig, eager_codec

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Suite = Callable[[str, Path], dict[str, str]]
#: How many tests a registry that can do everything passes, by the versions that .ci/install installs.
PASSES = {"conformance": 69, "conformance-next": 71}
SUITES: dict[str, Suite] = {"conformance": run_conformance, "conformance-next": run_conformance_next}


async def check_reduced(rig: Rig) -> None:
    assert await rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") > 3
    assert await rig.metric("reducto_reduce_failures_total") == 0
    assert await rig.metric("reducto_rebuild_failures_total") == 0


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("upstream", ["docker-registry", "distribution", "zot"])
async def test_a_registry_passes_what_it_passes_bare(
    new_rig: OpenRig, start_registry: StartRegistry, tmp_path: Path, name: str, upstream: str
) -> None:
    require_tool(name)
    bare, behind = [await asyncio.to_thread(start_registry, upstream) for _ in range(2)]
    rig = await new_rig(upstream=behind.url, codec=eager_codec, min_blob_bytes=64)
    suite = SUITES[name]
    before = await asyncio.to_thread(suite, bare.url, tmp_path / "bare")
    after = await asyncio.to_thread(suite, rig.url, tmp_path / "through")
    assert worse(before, after) == {}
    assert Counter(after.values())["passed"] >= Counter(before.values())["passed"] > 40
    await check_reduced(rig)


@pytest.mark.parametrize("reduce", [False, True], ids=["bare", "reduced"])
@pytest.mark.parametrize("name", SUITES)
async def test_the_embedded_store_passes_all(new_rig: OpenRig, tmp_path: Path, name: str, reduce: bool) -> None:
    require_tool(name)
    rig = await new_rig(codec=eager_codec, enabled=reduce, min_blob_bytes=64)
    outcomes = await asyncio.to_thread(SUITES[name], rig.url, tmp_path / "report")
    assert [test for test, outcome in outcomes.items() if outcome in ("failed", "fail", "error")] == []
    assert Counter(outcomes.values())["passed"] >= PASSES[name]
    if reduce:
        await check_reduced(rig)
