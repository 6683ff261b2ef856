"""Reducto's image, built by the committed Dockerfile on a base that this machine makes itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.bench.data.cache import dataset
from tests.support.dockerd import DockerEngine
from tests.support.process import run

ROOT = Path(__file__).parents[2]
BASE, TAG = "localhost/python-base:test", "localhost/reducto:test"


@dataclass(frozen=True)
class BuiltImage:
    """An image in a Docker engine."""

    engine: DockerEngine
    tag: str
    commit: str

    def run(self, *command: str | Path, options: tuple[str, ...] = ()) -> str:
        """Runs the image as the chart does (read-only, no capabilities, nobody) to its end; its output."""
        return self.engine.docker("run", "--rm", *RESTRICTED, *options, self.tag, *command)


#: What the chart's security contexts mean for `docker run`.
RESTRICTED = (
    "--read-only",
    "--tmpfs=/tmp:mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=host",
)


def build_image(engine: DockerEngine) -> BuiltImage:
    """Builds the image with docker, at this machine's package registries."""
    commit = run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
    base = dataset("python-base").ensure() / "base.tar"
    engine.docker("import", base, BASE)
    run(
        "make",
        "image",
        f"IMAGE={TAG}",
        f"COMMIT={commit}",
        "IMAGE_BUILDER=docker build --quiet --network=host",
        f"IMAGE_ARGS={' '.join(build_arguments(BASE))}",
        env=engine.client_environment,
        cwd=ROOT,
        timeout_seconds=3600,
    )
    return BuiltImage(engine, TAG, commit)


def readable(folder: Path) -> Path:
    """``folder`` and what is in it, readable for the image's user."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    return folder


def build_arguments(base: str) -> list[str]:
    """The base, and how pip reaches its registry from here."""
    settings = {
        name: value for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT") if (value := os.getenv(name))
    }
    return [f"--build-arg=BASE={base}", *(f"--build-arg={name}={value}" for name, value in settings.items())]
