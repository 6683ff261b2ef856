"""The outcomes of the gzip benchmark, kept on disk per tar and encoder, so that an interrupted run can be continued.

They lie beside the benchmark data in a folder named after a digest of the measured code. After a change of a model
everything is measured again.
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
#: Rebuild and `gzip -6` run alternately this many times. The best time of each counts, because other work on the
#: machine can only make a run slower.
TIMED_ROUNDS = 4


@dataclass
class Outcome:
    """The outcome of one encoder on one tar."""

    encoder: str
    model: str
    """The name of the encoder model that fits, or the reason why the file would be stored as it came."""
    exact: bool
    """Whether the file was rebuilt bit for bit, or would be stored as it came."""
    corrections: int
    recipe_bytes: int
    wire_bytes: int
    recipe: str = ""
    """The recipe in hexadecimal, for timing."""
    rebuild: float | None = None
    """The speed on one core as a multiple of `gzip -6` on the same bytes; None if it was not timed."""
    gzip_mb_s: float | None = None

    @property
    def percent(self) -> float:
        """The recipe's length in percent of the gzip file's."""
        return 100 * self.recipe_bytes / self.wire_bytes


def code_key() -> str:
    """A digest of the sources on which outcomes depend."""
    digest = hashlib.sha256()
    folders = (ROOT / "cext" / "deflate", ROOT / "reducto" / "gzip")
    kernel = (ROOT / "cext" / "api" / "20_gzip.h", ROOT / "reducto" / "kernel" / "gzip.py")
    sources = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".c", ".h", ".py")]
    for path in sorted([*kernel, *sources]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Outcomes:
    """The outcomes on disk for one length of tars and the present code."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder / f"{code_key()}-{megabytes}"
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, tar: str, oracle: Oracle) -> Outcome | None:
        """The outcome of an encoder on a tar; None if it was not measured."""
        path = self._path(tar, oracle.name)
        return Outcome(**json.loads(path.read_text())) if path.exists() else None

    def put(self, tar: str, outcome: Outcome) -> None:
        """Stores an outcome. Readers never see a partly written file."""
        path = self._path(tar, outcome.encoder)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(outcome)))
        partial.replace(path)

    def same_bytes(self, tar: str, wire: bytes, measure: Callable[[], Outcome]) -> Outcome:
        """The outcome of ``measure()``, or of another release that compressed this tar to the same bytes."""
        path = self._path(tar, "sha256-" + hashlib.sha256(wire).hexdigest())
        if not path.exists():
            path.write_text(json.dumps(asdict(measure())))
        return Outcome(**json.loads(path.read_text()))

    def figures(self, tar: str) -> dict[str, float]:
        """Further figures of a tar, by name."""
        path = self._path(tar, "figures")
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def put_figures(self, tar: str, figures: dict[str, float]) -> None:
        """Stores further figures of a tar."""
        self._path(tar, "figures").write_text(json.dumps(figures))

    def _path(self, tar: str, name: str) -> Path:
        return self._folder / f"{tar.split()[0].lower()}-{name}.json"


def plan(wire: bytes) -> object:
    """The recipe of a gzip file, or the reason why there is none."""
    reader = open_container(wire[:16])
    for at in range(0, len(wire), FEED_BYTES):
        reader.feed(wire[at : at + FEED_BYTES], lambda piece: None)
    return reader.finish()


def measure(oracle: Oracle, plain: bytes, wire: bytes) -> Outcome:
    """Finds the recipe of a gzip file, and rebuilds the whole file with it."""
    recipe = plan(wire)
    if not isinstance(recipe, GzipRecipe):
        return Outcome(oracle.name, f"stored: {recipe}", True, 0, 0, len(wire))
    exact = b"".join(recipe.rebuild(PlainBytes(plain))) == wire
    data = recipe.to_bytes()
    corrections = recipe.correction_count or 0
    return Outcome(oracle.name, recipe.encoder, exact, corrections, len(data), len(wire), data.hex())


def time_rebuild(outcome: Outcome, plain: bytes) -> None:
    """Adds the speed: this thread's processor seconds compared with those of `gzip -6`."""
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
    """User and system processor seconds of the real `gzip -6`. Rebuilds are measured with system time as well."""
    before = children_seconds()
    subprocess.run(["gzip", "-6"], input=plain, stdout=subprocess.DEVNULL, check=True)
    return children_seconds() - before


def tars(megabytes: int) -> dict[str, bytes]:
    """The first megabytes of a Debian root, a Python application and a Node application."""
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
