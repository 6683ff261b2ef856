"""Ten nightly rebuilds of one application without any cache. Dependencies change in some nights, the base in one.

``nightly/images.tar`` is the ``docker save`` archive of ``night-01`` ... ``night-10``.
"""

from pathlib import Path

from tests.bench.data import image_series as series
from tests.bench.data.cache import dataset, register
from tests.support.dockerd import DockerEngine
from tests.support.process import run

#: The dependencies that each night changes. An empty entry is a rebuild without changes.
CHANGES: list[dict[str, str]] = [
    {},
    {},
    {"django": "5.0.7", "sqlalchemy": "2.0.31"},
    {},
    {"aiohttp": "3.10.10"},
    {},
    {"requests": "2.32.3", "redis": "5.0.8"},
    {"pydantic": "2.9.2"},
    {"django": "5.0.9", "cryptography": "43.0.3"},
    {"sqlalchemy": "2.0.36"},
]
#: The first night, counted from 1, whose build begins with the patched base.
PATCHED_FROM = 6
NIGHTS = tuple(f"night-{number:02}" for number in range(1, len(CHANGES) + 1))


@register("nightly", "ten nightly rebuilds of an application's image (docker save)")
def build(folder: Path) -> None:
    archive = dataset("image-series").ensure() / "images.tar"
    requirements = dict(series.REQUIREMENTS)
    locked: dict[str, str] = {}
    with DockerEngine(folder / "work" / "docker") as engine:
        engine.docker("load", "--input", archive)
        for number, (night, change) in enumerate(zip(NIGHTS, CHANGES, strict=True), 1):
            requirements.update(change)
            wheels = folder / "work" / f"wheels-{number}"
            locked = series.download(requirements, locked, wheels)
            base = "base-patched" if number >= PATCHED_FROM else "base"
            series.install_python(engine, base, f"python-{number}")
            series.install_application(engine, f"python-{number}", wheels, night)
        series.save(engine, NIGHTS, folder / "images.tar")
    run("rm", "-rf", folder / "work")
