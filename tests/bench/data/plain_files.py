"""Data that nothing else here is related to: noise, and files that are compressed already."""

import random
from pathlib import Path

from tests.bench.data.cache import register
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
