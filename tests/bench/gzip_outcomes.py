"""What the gzip benchmark measures, kept per tar and encoder: a run that was broken off goes on where it stopped.

Outcomes lie beside the benchmark data, under a key of the code that was measured: after a change of a model all is
measured anew.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from reducto.gzip import GzipRecipe, open_container, recipe_from_bytes
from tests.bench.codec_runs import children_seconds
from tests.bench.data import dataset
from tests.bench.report import ROOT
from tests.gzip.helpers import PlainBytes
from tests.gzip.oracles import Oracle

FEED_BYTES = 1 << 20
#: Rebuild and `gzip -6` take turns so often and the best of each counts: other work on the machine only slows down.
TIMED_ROUNDS = 4


@dataclass
class Outcome:
    """One encoder on one tar."""

    encoder: str
    model: str
    """Name of the model that was taken, or why the file would be stored as it came."""
    exact: bool
    """Rebuilt bit for bit, or stored."""
    corrections: int
    recipe_bytes: int
    wire_bytes: int
    recipe: str = ""
    """In hexadecimal; for timing."""
    rebuild: float | None = None
    """Speed as a multiple of `gzip -6` on the same bytes, on one core; None where it was not timed."""
    gzip_mb_s: float | None = None

    @property
    def percent(self) -> float:
        """Recipe in percent of the gzip file."""
        return 100 * self.recipe_bytes / self.wire_bytes


def code_key() -> str:
    """A digest of the sources that decide over outcomes."""
    digest = hashlib.sha256()
    folders = (ROOT / "cext" / "deflate", ROOT / "reducto" / "gzip")
    kernel = (ROOT / "cext" / "api" / "20_gzip.h", ROOT / "reducto" / "kernel" / "gzip.py")
    sources = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".c", ".h", ".py")]
    for path in sorted([*kernel, *sources]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Outcomes:
    """Measured outcomes on disk, of one length of tar and the present code."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder / f"{code_key()}-{megabytes}"
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, tar: str, oracle: Oracle) -> Outcome | None:
        """What was measured, if it was."""
        path = self._path(tar, oracle.name)
        return Outcome(**json.loads(path.read_text())) if path.exists() else None

    def put(self, tar: str, outcome: Outcome) -> None:
        """Keeps it; a part of a file is never seen."""
        path = self._path(tar, outcome.encoder)
        fresh = path.with_suffix(".partial")
        fresh.write_text(json.dumps(asdict(outcome)))
        fresh.replace(path)

    def same_bytes(self, tar: str, wire: bytes, measure: Callable[[], Outcome]) -> Outcome:
        """``measure()``, unless another release made the very same bytes of this tar: then what was measured there."""
        path = self._path(tar, "sha256-" + hashlib.sha256(wire).hexdigest())
        if not path.exists():
            path.write_text(json.dumps(asdict(measure())))
        return Outcome(**json.loads(path.read_text()))

    def figures(self, tar: str) -> dict[str, float]:
        """What else was measured of a tar, by name."""
        path = self._path(tar, "figures")
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def put_figures(self, tar: str, figures: dict[str, float]) -> None:
        """Keeps them."""
        self._path(tar, "figures").write_text(json.dumps(figures))

    def _path(self, tar: str, name: str) -> Path:
        return self._folder / f"{tar.split()[0].lower()}-{name}.json"


def plan(wire: bytes) -> object:
    """The recipe or why there is none."""
    unframer = open_container(wire[:16])
    for at in range(0, len(wire), FEED_BYTES):
        unframer.feed(wire[at : at + FEED_BYTES], lambda piece: None)
    return unframer.finish()


def measure(oracle: Oracle, plain: bytes, wire: bytes) -> Outcome:
    """Plans, and rebuilds all of it."""
    recipe = plan(wire)
    if not isinstance(recipe, GzipRecipe):
        return Outcome(oracle.name, f"stored: {recipe}", True, 0, 0, len(wire))
    exact = b"".join(recipe.rebuild(PlainBytes(plain))) == wire
    data = recipe.to_bytes()
    corrections = recipe.corrections or 0
    return Outcome(oracle.name, recipe.encoder, exact, corrections, len(data), len(wire), data.hex())


def time_rebuild(outcome: Outcome, plain: bytes) -> None:
    """Adds the speed: processor seconds of this thread against those of `gzip -6`."""
    recipe = recipe_from_bytes(bytes.fromhex(outcome.recipe))
    gzip, rebuild = [], []
    for _ in range(TIMED_ROUNDS):
        gzip.append(gzip_6_seconds(plain))
        start = time.thread_time()
        length = sum(len(piece) for piece in recipe.rebuild(PlainBytes(plain)))
        rebuild.append(time.thread_time() - start)
        assert length == outcome.wire_bytes
    outcome.rebuild = min(gzip) / min(rebuild)
    outcome.gzip_mb_s = len(plain) / min(gzip) / 1e6


def gzip_6_seconds(plain: bytes) -> float:
    """Processor seconds of the real `gzip -6`, the system's among them as in what they are compared with."""
    before = children_seconds()
    subprocess.run(["gzip", "-6"], input=plain, stdout=subprocess.DEVNULL, check=True)
    return children_seconds() - before


def tars(megabytes: int) -> dict[str, bytes]:
    """A Debian root, a Python application, a Node application: the first megabytes of each."""
    series = sorted((dataset("image-series").path / "layers").iterdir(), key=lambda path: path.stat().st_size)
    paths = {
        "Debian root": dataset("python-base").path / "base.tar",
        "Python application": series[len(series) // 2],
        "Node application": dataset("node-layers").path / "new.tar",
    }
    found = {}
    for name, path in paths.items():
        with path.open("rb") as file:
            found[name] = file.read(megabytes * 1_000_000)
    return found
