"""Fixtures of the sidecar's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from sidecar.app import reducto_codec
from tests.support.sidecar_rig import Rig, make_config, open_rig

OpenRig = Callable[..., Awaitable[Rig]]


@pytest.fixture(autouse=True)
def _never_blocks() -> Iterator[BlockBuster]:
    """A blocking call on the event loop, from the sidecar's own code, fails the test."""
    with blockbuster_ctx(["sidecar", "reducto.oci"]) as blocking:
        # A performance counter's descriptor gives 8 bytes that the kernel has at hand; nothing waits for them.
        blocking.functions["os.read"].can_block_in("sidecar/runtime/process.py", "_waited")
        yield blocking


@pytest.fixture
async def new_rig(tmp_path: Path) -> AsyncIterator[OpenRig]:
    """``await new_rig(upstream=..., codec=..., **config)``: sidecars that are closed at the test's end."""
    rigs: list[Rig] = []

    async def make(upstream: str | Path | None = None, state: str = "", codec: Any = reducto_codec, **more: Any) -> Rig:
        folder = tmp_path / f"state{state or len(rigs)}"
        config = make_config(folder, upstream or tmp_path / "registry", **more)
        rigs.append(await open_rig(folder, config, codec))
        return rigs[-1]

    yield make
    for rig in rigs:
        if not rig.session.closed:
            await rig.close()


@pytest.fixture
async def rig(new_rig: OpenRig) -> Rig:
    """A sidecar over the embedded store."""
    return await new_rig()
