"""kill -9 at random moments of pushes and pulls loses no acknowledged blob, and no wrong byte is served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from reducto.values import Digest
from tests.sidecar.samples import real_layer
from tests.sidecar.test_faults import left_behind
from tests.support.fixtures import StartRegistry
from tests.support.sidecar_rig import MANIFEST, descriptor, layer_gzip

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROUNDS = int(os.environ.get("REDUCTO_KILL_ROUNDS", "25"))
VERSIONS = 10


@dataclass
class Process:
    """A running sidecar."""

    pid: int
    url: str


@dataclass
class Starter:
    """Forks sidecars, one at a time, over the same folder and upstream."""

    inner: asyncio.subprocess.Process
    folder: Path
    upstream: str
    running: Process | None = None

    async def start(self) -> Process:
        assert self.inner.stdin is not None
        self.inner.stdin.write(json.dumps([str(self.folder), self.upstream]).encode() + b"\n")
        pid, port = await self._answer()
        self.running = Process(pid, f"http://127.0.0.1:{port}")
        return self.running

    async def stop(self, process: Process, how: signal.Signals) -> int:
        self.running = None
        os.kill(process.pid, how)
        return int(await self._answer())

    async def _answer(self):  # type: ignore[no-untyped-def]
        assert self.inner.stdout is not None
        return json.loads(await asyncio.wait_for(self.inner.stdout.readline(), 60))


@dataclass
class Truth:
    """The pushes that were acknowledged."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    tags: dict[str, bytes] = field(default_factory=dict)
    pushes: int = 0
    pulls: int = 0


@pytest.fixture(params=["embedded", "docker-registry"])
async def starter(
    request: pytest.FixtureRequest, start_registry: StartRegistry, tmp_path: Path
) -> AsyncIterator[Starter]:
    upstream = str(tmp_path / "registry")
    if request.param != "embedded":
        upstream = (await asyncio.to_thread(start_registry, request.param)).url
    program = Path(__file__).with_name("serve_forked.py")
    inner = await asyncio.create_subprocess_exec(
        sys.executable, str(program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    starter = Starter(inner, tmp_path, upstream)
    yield starter
    if starter.running is not None:
        await starter.stop(starter.running, signal.SIGKILL)
    inner.kill()
    await inner.wait()


async def test_kill_minus_nine_loses_nothing_acknowledged(starter: Starter) -> None:
    chance, truth = random.Random(4), Truth()
    layers = [real_layer(version, 400_000) for version in range(1, VERSIONS + 1)]
    for round_number in range(ROUNDS):
        process = await starter.start()
        async with aiohttp.ClientSession(process.url) as session:
            for tag in chance.sample(sorted(truth.tags), min(2, len(truth.tags))):
                await check_image(session, tag, truth)
            work = [asyncio.create_task(push_forever(session, f"r{round_number}-{n}", layers, truth)) for n in range(2)]
            work += [asyncio.create_task(pull_forever(session, chance.random(), truth)) for _ in range(2)]
            await moment(truth, chance)
            assert await starter.stop(process, signal.SIGKILL) == -signal.SIGKILL
            for task in work:
                task.cancel()
            for outcome in await asyncio.gather(*work, return_exceptions=True):
                assert isinstance(outcome, asyncio.CancelledError | aiohttp.ClientError | OSError), repr(outcome)
    process = await starter.start()
    assert min(len(truth.tags), truth.pulls) >= ROUNDS / 2
    async with aiohttp.ClientSession(process.url) as session:
        for digest in truth.blobs:
            await check_blob(session, digest, truth)
        for tag in truth.tags:
            await check_image(session, tag, truth)
    assert await starter.stop(process, signal.SIGTERM) == 0
    left = await asyncio.to_thread(left_behind, starter.folder / "spool")
    left += await asyncio.to_thread(left_behind, starter.folder / "registry" / "_uploads")
    assert left == []


async def moment(truth: Truth, chance: random.Random) -> None:
    """Waits for some answers and a random while, so that the kill comes equally far on slow and fast machines."""
    goal = truth.pushes + chance.randrange(16)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while truth.pushes < goal:  # noqa: ASYNC110 - many tasks count
                await asyncio.sleep(0.001)
    await asyncio.sleep(chance.uniform(0, 0.05))


async def push_forever(session: aiohttp.ClientSession, name: str, layers: list[bytes], truth: Truth) -> None:
    """Pushes images without end. One layer of each may be known already, the other is always new."""
    for number in range(1000):
        tag = f"{name}-{number}"
        layer = layers[(len(name) + 3 * number) % len(layers)]
        own = layer_gzip({f"etc/{tag}": tag.encode() * 2000, "lib/all": layers[0][:100_000]})
        blobs = [layer, own, json.dumps({"architecture": "amd64", "os": "linux", "tag": tag}).encode()]
        for blob in blobs:
            async with session.post("/v2/app/blobs/uploads/") as answer:
                assert answer.status == 202, answer.status
                location = answer.headers["Location"]
            async with session.put(location, params={"digest": str(Digest.of(blob))}, data=blob) as answer:
                assert answer.status == 201, (answer.status, await answer.read())
            truth.blobs[Digest.of(blob)] = blob
            truth.pushes += 1
        data = manifest_of(blobs)
        headers = {"Content-Type": MANIFEST}
        async with session.put(f"/v2/app/manifests/{tag}", data=data, headers=headers) as answer:
            assert answer.status == 201, (answer.status, await answer.read())
        truth.tags[tag] = data


async def pull_forever(session: aiohttp.ClientSession, seed: float, truth: Truth) -> None:
    chance = random.Random(seed)
    while True:
        if truth.blobs:
            await check_blob(session, chance.choice(list(truth.blobs)), truth)
            truth.pulls += 1
        await asyncio.sleep(0.02)


async def check_image(session: aiohttp.ClientSession, tag: str, truth: Truth) -> None:
    async with session.get(f"/v2/app/manifests/{tag}", headers={"Accept": MANIFEST}) as answer:
        assert (answer.status, await answer.read()) == (200, truth.tags[tag])
    document = json.loads(truth.tags[tag])
    for item in [document["config"], *document["layers"]]:
        await check_blob(session, Digest.parse(item["digest"]), truth)


async def check_blob(session: aiohttp.ClientSession, digest: Digest, truth: Truth) -> None:
    async with session.get(f"/v2/app/blobs/{digest}") as answer:
        assert answer.status == 200, (answer.status, await answer.read())
        assert await answer.read() == truth.blobs[digest]


def manifest_of(blobs: list[bytes]) -> bytes:
    *layers, config = blobs
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers],
    }
    return json.dumps(document).encode()
