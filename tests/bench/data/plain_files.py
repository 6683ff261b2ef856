"""Noise, compressed files, and layers of a gigabyte."""

import random
import subprocess
from pathlib import Path

from tests.bench.data.cache import dataset, register
from tests.support.process import run


@register("unrelated", "64 MiB of noise, and a wheel with compressed content")
def build(folder: Path) -> None:
    generator = random.Random(20260101)
    with (folder / "noise.bin").open("wb") as out:
        for _ in range(64):
            out.write(generator.randbytes(1 << 20))
    work = folder / "work"
    run("python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11",
        "--dest", work, "scipy==1.13.1")  # fmt: skip
    (wheel,) = work.iterdir()
    wheel.rename(folder / "wheel.whl")
    work.rmdir()


LARGE_LAYERS = 8
LARGE_PLAIN_BYTES = 5 << 29


@register("large-layers", "eight gzip layers of about a gigabyte each, all of the same packages in another order")
def large_layers(folder: Path) -> None:
    sets = ("apt-layers", "go-programs", "node-layers")
    sources = [dataset(name).ensure() / part for name in sets for part in ("old.tar", "new.tar")]
    for number in range(0, LARGE_LAYERS, 2):
        _wait_for([_large_layer(folder, sources, each) for each in (number, number + 1)])


def _large_layer(folder: Path, sources: list[Path], number: int) -> subprocess.Popen[bytes]:
    turned = sources[number % len(sources) :] + sources[: number % len(sources)]
    names = " ".join(f"'{path}'" for path in turned * 2)
    script = f"cat {names} | head -c {LARGE_PLAIN_BYTES} | gzip -1n > '{folder / str(number)}.gz'"
    return subprocess.Popen(["sh", "-c", script])


def _wait_for(processes: list[subprocess.Popen[bytes]]) -> None:
    codes = [process.wait() for process in processes]
    assert not any(codes), f"gzip ended with {codes}"
