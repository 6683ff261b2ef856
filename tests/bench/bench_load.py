"""Load on the sidecar: eight layers of a gigabyte at once, then 200 pulls and 50 pushes at once."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import aiohttp

from sidecar.runtime.process import CpuWait
from tests.bench.data import dataset
from tests.bench.report import Report, benchmark
from tests.support.registries import start_registry
from tests.support.sidecar import Sidecar

PIECES = 20
PULLS, PUSHES = 200, 50
BLOCK = 1 << 20
WORST_LAG, WORST_BLOCK = "reducto_event_loop_lag_max_seconds", "reducto_event_loop_blocked_max_seconds"
REDUCED = 'reducto_decisions_total{outcome="reduced",reason="reduced"}'


class Watch(threading.Thread):
    """Samples a sidecar's memory until it is stopped, and keeps the largest value of each figure."""

    def __init__(self, sidecar: Sidecar) -> None:
        super().__init__(daemon=True)
        self.largest: dict[str, int] = {}
        self._sidecar, self._ended = sidecar, threading.Event()

    def run(self) -> None:
        ended = False
        while not ended:
            for name, value in self._sidecar.memory_bytes().items():
                self.largest[name] = max(value, self.largest.get(name, 0))
            ended = self._ended.wait(0.2)

    @contextmanager
    def __call__(self):  # type: ignore[no-untyped-def]
        self.start()
        yield self
        self._ended.set()
        self.join()


async def push_blob(session: aiohttp.ClientSession, url: str, repository: str, blob: Path | bytes) -> float:
    """Uploads one blob as docker does, by POST, a streamed PATCH and PUT; returns the seconds."""
    started = time.monotonic()
    async with session.post(f"{url}/v2/{repository}/blobs/uploads/") as answer:
        answer.raise_for_status()
        location = _absolute(url, answer.headers["Location"])
    digest = hashlib.sha256()

    async def body():  # type: ignore[no-untyped-def]
        for block in _blocks(blob):
            digest.update(block)
            yield block

    async with session.patch(location, data=body()) as answer:
        answer.raise_for_status()
        location = _absolute(url, answer.headers["Location"])
    joint = "&" if "?" in location else "?"
    async with session.put(f"{location}{joint}digest=sha256:{digest.hexdigest()}") as answer:
        assert answer.status == 201, await answer.text()
    return time.monotonic() - started


async def pull_blob(session: aiohttp.ClientSession, url: str, repository: str, digest: str) -> float:
    """Downloads one blob and checks its sha256; returns the seconds."""
    started = time.monotonic()
    found = hashlib.sha256()
    async with session.get(f"{url}/v2/{repository}/blobs/{digest}") as answer:
        answer.raise_for_status()
        async for block in answer.content.iter_chunked(BLOCK):
            found.update(block)
    assert f"sha256:{found.hexdigest()}" == digest
    return time.monotonic() - started


def _absolute(url: str, location: str) -> str:
    return location if location.startswith("http") else url + location


def _blocks(blob: Path | bytes):  # type: ignore[no-untyped-def]
    if isinstance(blob, bytes):
        yield from (blob[start : start + BLOCK] for start in range(0, len(blob), BLOCK))
        return
    with blob.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=3600), auto_decompress=False)


@benchmark("memory", "Eight layers of 1 GB at once: memory and the event loop")
def memory(report: Report) -> None:
    """Eight layers of 1 GB each pushed at once through a sidecar before docker-registry, then pulled at once."""
    with tempfile.TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        upstream = start_registry("docker-registry", folder / "upstream")
        stack.callback(upstream.daemon.stop)
        layers = sorted(dataset("large-layers").ensure().glob("*.gz"))
        digests = [_sha256(layer) for layer in layers]
        sidecar = stack.enter_context(Sidecar(folder / "sidecar", upstream.url))
        pushed = _watched(sidecar, lambda: asyncio.run(_push_all(sidecar.url, layers)))
        delays = [_delays(sidecar)]
        reduced = sidecar.metrics().get(REDUCED, 0)
        sidecar.daemon.restart()
        pulled = _watched(sidecar, lambda: asyncio.run(_pull_all(sidecar.url, digests)))
        delays.append(_delays(sidecar))
    rows = [
        [
            what,
            figures["seconds"],
            *(figures[key] / (1 << 20) for key in ("peak", "anonymous")),
            *late,
            figures["stolen"],
        ]
        for what, figures, late in (("push", pushed, delays[0]), ("pull", pulled, delays[1]))
    ]
    report.table(
        "The sidecar while eight layers pass at once",
        [
            "what",
            "seconds",
            "peak resident, MiB",
            "peak beyond mapped files, MiB",
            "longest delay of the event loop, ms",
            "not for want of a processor, ms",
            "taken by the host, s",
        ],
        rows,
        note=f"{reduced:.0f} of {len(layers)} layers were stored reduced. The same two cores run the clients and the "
        "registry. From the last delay the time is subtracted in which the event loop's thread was ready but had no "
        "processor (schedstat, task clock), or in which the host took a processor away (steal): the larger of the two, "
        "which is less than their sum.",
    )
    worst = max(pushed["anonymous"], pulled["anonymous"]) / (1 << 20)
    report.at_most("memory beyond mapped corpora", worst, 768, "MiB")
    report.at_most("longest block of the event loop", max(block for _, block in delays), 50, "ms")


def _delays(sidecar: Sidecar) -> list[float]:
    """The event loop's longest delay, and the longest one without waits for a processor, in milliseconds."""
    metrics = sidecar.metrics()
    return [metrics[name] * 1000 for name in (WORST_LAG, WORST_BLOCK)]


def _watched(sidecar: Sidecar, action: Callable[[], object]) -> dict[str, float]:
    watch, started, stolen = Watch(sidecar), time.monotonic(), _stolen_seconds()
    with watch():
        action()
    return {**watch.largest, "seconds": time.monotonic() - started, "stolen": _stolen_seconds() - stolen}


def _stolen_seconds() -> float:
    """The seconds that the host took from all processors (steal) since the machine's start."""
    with closing(CpuWait()) as waits:
        _own, *stolen = waits.so_far()
        return sum(stolen)


async def _push_all(url: str, blobs: Sequence[Path | bytes], repository: str = "team/large") -> list[float]:
    async with session() as client:
        return list(await asyncio.gather(*(push_blob(client, url, repository, blob) for blob in blobs)))


async def _pull_all(url: str, digests: Sequence[str], repository: str = "team/large") -> list[float]:
    async with session() as client:
        return list(await asyncio.gather(*(pull_blob(client, url, repository, digest) for digest in digests)))


def _sha256(blob: Path | bytes) -> str:
    digest = hashlib.sha256()
    for block in _blocks(blob):
        digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def pieces() -> list[bytes]:
    """Twenty real layers: parts of the application layer, each compressed by gzip."""
    archive = (dataset("image-series").ensure() / "layers" / "app.tar").read_bytes()
    part = 4 << 20
    cut = [archive[start * part : (start + 1) * part] for start in range(PIECES)]
    return [subprocess.run(["gzip", "-6n"], input=each, capture_output=True, check=True).stdout for each in cut]


@benchmark("load", "200 pulls and 50 pushes at once")
def load(report: Report) -> None:
    """One image pulled by 200 clients at once, from an empty cache and again, and 50 layers pushed at once."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        upstream = start_registry("docker-registry", folder / "upstream")
        stack.callback(upstream.daemon.stop)
        sidecar = stack.enter_context(Sidecar(folder / "sidecar", upstream.url))
        blobs = pieces()
        digests = [_sha256(blob) for blob in blobs]
        asyncio.run(_push_all(sidecar.url, blobs, "team/load"))
        wire = PULLS * sum(map(len, blobs))
        sidecar.daemon.restart()
        for what in ("cold", "warm"):
            rows.append(_load_row(f"{PULLS} pulls, {what}", wire, lambda: _many_pulls(sidecar.url, digests)))
        own = [blob + bytes([number]) for number in range(PUSHES) for blob in blobs[:1]]
        rows.append(_load_row(f"{PUSHES} pushes", sum(map(len, own)), lambda: _push_all(sidecar.url, own, "team/many")))
    report.table("Requests at once", ["what", "seconds", "MB/s", "median blob s", "p99 blob s"], rows)
    for what, _seconds, megabytes_per_second, _median, slow in rows:
        report.figure(f"{what}: throughput", megabytes_per_second, "MB/s")
        report.figure(f"{what}: 99 % of the blobs take less than", slow, "s")


def _load_row(what: str, wire_bytes: int, action: Callable[[], object]) -> list[str | float]:
    started = time.monotonic()
    seconds: list[float] = asyncio.run(action())  # type: ignore[arg-type]
    elapsed = time.monotonic() - started
    return [
        what,
        elapsed,
        wire_bytes / elapsed / 1e6,
        statistics.median(seconds),
        statistics.quantiles(seconds, n=100)[98],
    ]


async def _many_pulls(url: str, digests: Sequence[str]) -> list[float]:
    async def one(client: aiohttp.ClientSession) -> list[float]:
        return [await pull_blob(client, url, "team/load", digest) for digest in digests]

    async with session() as client:
        return [each for part in await asyncio.gather(*(one(client) for _ in range(PULLS))) for each in part]
