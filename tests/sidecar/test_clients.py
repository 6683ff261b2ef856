"""Real clients push and pull through the sidecar and see the digests that the bare registry gives them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.app import reducto_codec
from tests.sidecar.conftest import OpenRig
from tests.support.clients import Client
from tests.support.fixtures import StartRegistry
from tests.support.images import application_image

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("upstream", ["embedded", "docker-registry", "distribution", "zot"])
async def test_digests_are_those_of_the_bare_registry(
    new_rig: OpenRig, start_registry: StartRegistry, each_client: Client, tmp_path: Path, upstream: str
) -> None:
    registry = await asyncio.to_thread(start_registry, "docker-registry" if upstream == "embedded" else upstream)
    rig = await new_rig(upstream=None if upstream == "embedded" else registry.url, codec=reducto_codec)
    archive = await asyncio.to_thread(application_image, tmp_path, 1)
    for host, repository in ((registry.host, "bare/app"), (rig.host, "through/app")):
        await asyncio.to_thread(each_client.push, archive, f"{host}/{repository}:v1")
    bare = await asyncio.to_thread(each_client.pull, f"{registry.host}/bare/app:v1")
    through = await asyncio.to_thread(each_client.pull, f"{rig.host}/through/app:v1")
    assert through == bare
    assert await rig.metric("reducto_rebuild_failures_total") == 0
    assert await rig.metric("reducto_reduce_failures_total") == 0
