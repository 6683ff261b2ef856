"""The image is built once for all tests that use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packaging.image import BuiltImage, build_image
from tests.support.dockerd import DockerEngine
from tests.support.requirements import require_root, require_tool


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltImage]:
    """Reducto's image in a Docker engine."""
    require_root()
    require_tool("dockerd", "docker", "debootstrap")
    with DockerEngine(tmp_path_factory.mktemp("docker")) as engine:
        yield build_image(engine)
