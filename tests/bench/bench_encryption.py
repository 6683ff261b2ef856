"""Measures the cost of signing and encryption: two versions of a source tree are pushed and pulled with and without."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from reducto.crypt import generate_kek
from reducto.trust.key_files import generate_key, write_private_file
from tests.bench.data.cache import dataset
from tests.bench.report import Report, benchmark
from tests.trust.sidecars import Client, config_of, sidecar

PAIRS = 7
KEYS = ("push seconds", "push CPU seconds", "pull seconds", "pull CPU seconds", "stored bytes")
_PIECE = 1 << 20


@benchmark("encryption", "Signing and encryption at rest")
def measure(report: Report) -> None:
    """Two versions of Go's sources pushed and pulled cold through a sidecar, with signing and encryption and without.

    The promise is at most 10 % of push and pull time, and at most 0.1 % of storage.

    Plain and protected runs are made in pairs, which begin with the plain and the protected run in turn, because other
    work on the machine then slows both down alike. The result is the median of the pairs' ratios. One more pair at the
    beginning fills the page cache and is not counted.
    """
    folder = dataset("go-source").ensure()
    layers = [folder / "old.tar", folder / "new.tar"]
    pairs = [_pair(layers, protected_first=bool(number % 2)) for number in range(-1, PAIRS)][1:]
    rows, ratios = [], {}
    for key in KEYS:
        each = sorted(protected[key] / plain[key] for plain, protected in pairs)
        ratios[key] = statistics.median(each)
        medians = [statistics.median(pair[column][key] for pair in pairs) for column in (0, 1)]
        rows.append([key, *medians, ratios[key], each[len(each) // 4], each[-1 - len(each) // 4]])
    report.table(
        f"Two layers of {layers[0].stat().st_size >> 20} MiB through a sidecar on the embedded store",
        ["", "plain", "signed and encrypted", "ratio, median of pairs", "lower quartile", "upper quartile"],
        rows,
        f"{PAIRS} pairs of runs, each with new empty disks. CPU seconds are those of sidecar and client together.",
    )
    report.at_most("push time", ratios["push seconds"], 1.10)
    report.at_most("pull time", ratios["pull seconds"], 1.10)
    report.at_most("CPU time of a push", ratios["push CPU seconds"], 1.10)
    report.at_most("CPU time of a pull", ratios["pull CPU seconds"], 1.10)
    report.at_most("storage", ratios["stored bytes"], 1.001)


def _pair(layers: list[Path], *, protected_first: bool) -> tuple[dict[str, float], dict[str, float]]:
    """One plain and one protected run."""
    runs = {protected: asyncio.run(_round(layers, protected)) for protected in (protected_first, not protected_first)}
    return runs[False], runs[True]


async def _round(layers: list[Path], protected: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="reducto-encryption-") as name:
        folder = Path(name)
        security = _security(folder) if protected else {}
        figures: dict[str, float] = {}
        async with sidecar(config_of(folder / "push", folder / "store", security)) as client:
            with _Clock(figures, "push"):
                digests = [await _push(client, layer) for layer in layers]
        store = folder / "store"
        figures["stored bytes"] = sum(path.stat().st_size for path in store.glob("_pool/**/*") if path.is_file())
        async with sidecar(config_of(folder / "pull", store, security)) as client:
            with _Clock(figures, "pull"):
                for digest in digests:
                    await _pull(client, digest)
        return figures


def _security(folder: Path) -> dict[str, Any]:
    files = generate_key(folder / "signing.pem")
    write_private_file(folder / "kek", generate_kek().encode())
    signing = {"key": str(files.private), "trusted_keys": [str(files.public)], "required": True}
    return {"signing": signing, "encryption": {"keys": [str(folder / "kek")]}}


class _Clock:
    """Measures wall and processor time of a block."""

    def __init__(self, figures: dict[str, float], name: str) -> None:
        self._figures, self._name = figures, name

    def __enter__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self._figures[f"{self._name} seconds"] = time.perf_counter() - self._wall
        self._figures[f"{self._name} CPU seconds"] = time.process_time() - self._cpu


async def _push(client: Client, layer: Path) -> str:
    with layer.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    async with client.session.post(f"{client.base}/v2/team/app/blobs/uploads/") as answer:
        location = answer.headers["Location"]
    timeout = aiohttp.ClientTimeout(total=600)
    params = {"digest": digest}
    async with client.session.put(
        client.base + location, params=params, data=_pieces(layer), timeout=timeout
    ) as answer:
        assert answer.status == 201, await answer.text()
    return digest


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


async def _pull(client: Client, digest: str) -> None:
    hasher = hashlib.sha256()
    url = f"{client.base}/v2/team/app/blobs/{digest}"
    async with client.session.get(url, timeout=aiohttp.ClientTimeout(total=600)) as answer:
        assert answer.status == 200
        async for piece in answer.content.iter_any():
            hasher.update(piece)
    assert f"sha256:{hasher.hexdigest()}" == digest
