"""The image is built once for all tests that use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.image import BuiltImage, build_image
from tests.support.dockerd import DockerEngine
from tests.support.requirements import require_root, require_tool


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltImage]:
    """Reducto's image in a Docker engine, on overlayfs where the kernel has it: building copies much less."""
    require_root()
    require_tool("dockerd", "docker", "debootstrap")
    driver = "overlay2" if "\toverlay\n" in Path("/proc/filesystems").read_text() else "vfs"
    with DockerEngine(tmp_path_factory.mktemp("docker"), storage_driver=driver) as engine:
        yield build_image(engine)
