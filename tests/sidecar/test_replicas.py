"""Several replicas: an upload whose requests arrive anywhere is one upload."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from sidecar.push.replicas import FORWARDED_HEADER
from sidecar.serve import Running, start
from tests.support.process import free_port
from tests.trust.sidecars import config_of, layer_of, words
from tests.trust.test_middleware import certificate

ADDRESSES = ("127.0.0.2", "127.0.0.3")
LAYER = layer_of({f"file-{n}": words(n, 60_000) for n in range(8)})
DIGEST = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"


class Cluster:
    """Two sidecars before one store, as a service with two endpoints has them."""

    def __init__(self, folder: Path, port: int, session: aiohttp.ClientSession, tls: bool) -> None:
        self.folder, self.port, self.session, self.tls = folder, port, session, tls
        self.running: dict[str, Running] = {}

    async def start(self, address: str) -> None:
        listen = {"address": address, "data_port": self.port}
        if self.tls:
            listen["tls"] = {
                "certificate_file": str(self.folder / "tls/tls.crt"),
                "key_file": str(self.folder / "tls/tls.key"),
            }
        config = config_of(
            self.folder / address,
            self.folder / "store",
            {"audit": {"file": str(self.folder / address / "audit.jsonl")}},
            listen=listen,
            replicas={"peers": list(ADDRESSES), "address": address},
            limits={"drain_timeout": "20s"},
        )
        self.running[address] = await start(config)

    def url(self, at: int) -> str:
        return f"{'https' if self.tls else 'http'}://{ADDRESSES[at]}:{self.port}"

    async def __call__(
        self, method: str, at: int, path: str, **more: object
    ) -> tuple[int, aiohttp.typedefs.LooseHeaders]:
        async with self.session.request(method, self.url(at) + path, ssl=False, **more) as answer:
            await answer.read()
            return answer.status, answer.headers

    async def begin(self, at: int) -> str:
        status, headers = await self("POST", at, "/v2/team/app/blobs/uploads/")
        assert status == 202
        return headers["Location"]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        if request.param:
            await asyncio.to_thread(certificate, tmp_path / "tls", "registry.example.com")
        made = Cluster(tmp_path, free_port(), session, request.param)
        for address in ADDRESSES:
            await made.start(address)
        yield made
        await asyncio.gather(*(running.stop() for running in made.running.values()))


async def test_an_upload_may_change_replicas_between_requests(cluster: Cluster) -> None:
    location, at = await cluster.begin(0), 0
    pieces = [LAYER[start : start + 100_000] for start in range(0, len(LAYER), 100_000)]
    for number, piece in enumerate(pieces[:-1]):
        status, headers = await cluster("PATCH", (number + 1) % 2, location, data=piece)
        assert status == 202
        at += len(piece)
        assert headers["Range"] == f"0-{at - 1}"
        assert headers["Location"] == location
    assert (await cluster("GET", 1, location))[0] == 204
    assert (await cluster("PATCH", 1, location, data=b"x", headers={"Content-Range": "0-0"}))[0] == 416
    status, headers = await cluster("PUT", 1, location, params={"digest": DIGEST}, data=pieces[-1])
    assert (status, headers["Docker-Content-Digest"]) == (201, DIGEST)
    for at in (0, 1):
        async with cluster.session.get(f"{cluster.url(at)}/v2/team/app/blobs/{DIGEST}", ssl=False) as answer:
            assert (answer.status, await answer.read()) == (200, LAYER)
    assert all(len(running.sidecar.push.sessions) == 0 for running in cluster.running.values())


async def test_an_upload_is_cancelled_from_anywhere(cluster: Cluster) -> None:
    location = await cluster.begin(0)
    assert (await cluster("DELETE", 1, location))[0] == 204
    assert (await cluster("GET", 0, location))[0] == 404


async def test_a_session_of_a_replica_that_is_gone_is_unknown(cluster: Cluster) -> None:
    location = await cluster.begin(0)
    stolen = location.rpartition("/")[0] + "/" + "0" * 40
    assert (await cluster("GET", 1, stolen))[0] == 404
    assert (await cluster("GET", 1, location, headers={FORWARDED_HEADER: "127.0.0.9"}))[0] == 404, "once is enough"
    await cluster.running.pop(ADDRESSES[0]).stop()
    status, headers = await cluster("GET", 1, location)
    assert status == 503, "it may come back"
    assert "Retry-After" in headers


async def test_a_replica_that_stops_waits_for_uploads_that_others_pass_on(cluster: Cluster) -> None:
    location = await cluster.begin(0)
    assert (await cluster("PATCH", 1, location, data=LAYER[:100_000]))[0] == 202
    stopping = asyncio.create_task(cluster.running.pop(ADDRESSES[0]).stop())
    await asyncio.sleep(1)
    assert not stopping.done()
    assert (await cluster("PUT", 1, location, params={"digest": DIGEST}, data=LAYER[100_000:]))[0] == 201
    await asyncio.wait_for(stopping, 15)


async def test_the_audit_log_names_the_client_and_not_the_replica(cluster: Cluster) -> None:
    location = await cluster.begin(0)
    status, _ = await cluster(
        "PUT", 1, location, params={"digest": DIGEST}, data=LAYER, headers={"X-Request-Id": "r-7"}
    )
    assert status == 201
    await asyncio.gather(*(running.stop() for running in cluster.running.values()))
    cluster.running.clear()
    for address in ADDRESSES:
        lines = map(json.loads, (cluster.folder / address / "audit.jsonl").read_text().splitlines())
        events = [line["event"] for line in lines if line["kind"] == "event"]
        pushed = next(event for event in events if event["action"] == "push-blob")
        assert (pushed["client"], pushed["request_id"], pushed["outcome"]) == ("127.0.0.1", "r-7", "ok")
