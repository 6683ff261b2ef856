"""Real clients push and pull through the sidecar and see the digests that the bare registry gives them; images run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sidecar.conftest import OpenRig
from tests.support.clients import Client
from tests.support.fixtures import StartRegistry
from tests.support.requirements import require_root

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ECHO = ("/bin/busybox", "echo", "hello")


@pytest.mark.parametrize("upstream", ["embedded", "docker-registry", "distribution", "zot"])
async def test_digests_are_those_of_the_bare_registry(
    new_rig: OpenRig,
    start_registry: StartRegistry,
    each_client: Client,
    small_application: Callable[[int], Path],
    upstream: str,
) -> None:
    require_root()  # docker runs the image that was pulled.
    kind = "docker-registry" if upstream == "embedded" else upstream
    bare = (await asyncio.to_thread(start_registry, kind)).host
    behind = None if upstream == "embedded" else (await asyncio.to_thread(start_registry, kind)).url
    rig = await new_rig(upstream=behind)

    def push_and_pull() -> None:
        archive = small_application(1)
        for host in (bare, rig.host):
            each_client.push(archive, f"{host}/team/app:v1")
        expected = each_client.pull(f"{bare}/team/app:v1")
        assert each_client.pull(f"{rig.host}/team/app:v1") == expected
        assert each_client.run(f"{rig.host}/team/app:v1", *ECHO).strip() == "hello"

    await asyncio.to_thread(push_and_pull)
    assert await rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == 2
    assert await rig.metric("reducto_rebuild_failures_total") == 0
    assert await rig.metric("reducto_reduce_failures_total") == 0
