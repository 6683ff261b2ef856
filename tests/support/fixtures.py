"""Fixtures with real servers and clients. tests/conftest.py makes them available to every test.

Tests that use them carry ``@pytest.mark.integration``.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import CLIENTS, Client, Docker
from tests.support.dockerd import DockerEngine
from tests.support.images import application_image
from tests.support.registries import PROGRAMS, Auth, Registry
from tests.support.registries import start_registry as _start
from tests.support.requirements import promised, require_registry, require_root, require_tool
from tests.support.shaped_link import ShapedLink, available

StartRegistry = Callable[..., Registry]
MakeClient = Callable[[str], Client]


@pytest.fixture
def start_registry(tmp_path: Path) -> Iterator[StartRegistry]:
    """``start_registry(kind, auth=None, **more)`` starts a registry, which is stopped at the end of the test."""
    with ExitStack() as stack:

        def start(kind: str = "docker-registry", auth: Auth = None, **more: Any) -> Registry:
            require_registry(kind)
            number = len(list(tmp_path.glob("registry-*")))
            registry = _start(kind, tmp_path / f"registry-{number}", auth, **more)
            stack.callback(registry.daemon.stop)
            return registry

        yield start


@pytest.fixture
def registry(start_registry: StartRegistry) -> Registry:
    """Debian's docker-registry 2.8 without authentication."""
    return start_registry("docker-registry")


@pytest.fixture(params=sorted(PROGRAMS))
def each_registry(request: pytest.FixtureRequest, start_registry: StartRegistry) -> Registry:
    """Each kind of registry. The test runs once for each."""
    return start_registry(request.param)


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """One Docker engine for all tests of a run. It uses registries on 127.0.0.1 without TLS."""
    require_root()
    require_tool("dockerd", "docker")
    with DockerEngine(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


@pytest.fixture
def make_client(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """``make_client("skopeo")`` makes a client of ``tests.support.clients`` with an empty home directory."""
    with ExitStack() as at_end:

        def make(name: str) -> Client:
            require_tool(name)
            folder = tmp_path / f"client-{name}"
            if name != "docker":
                client = CLIENTS[name](folder)
                at_end.callback(client.close)
                return client
            docker = Docker(request.getfixturevalue("docker_engine"), folder)
            docker.forget()
            return docker

        yield make


@pytest.fixture(params=[name for name in CLIENTS if name != "helm"])
def each_client(request: pytest.FixtureRequest, make_client: MakeClient) -> Client:
    """Each client of images. The test runs once for each."""
    return make_client(request.param)


def _archives(folder: Path, **limits: int) -> Callable[[int], Path]:
    """Makes the archive of each version only once."""
    made: dict[int, Path] = {}

    def archive(version: int) -> Path:
        require_tool("busybox")
        if version not in made:
            made[version] = application_image(folder, version, **limits)
        return made[version]

    return archive


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """``application(1)`` and ``application(2)`` are ``docker save`` archives of two versions of a small real image."""
    return _archives(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def small_application(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Like `application`, with only 2 MB of files, so that every client pushes it in seconds."""
    return _archives(tmp_path_factory.mktemp("small-images"), limit_bytes=2_000_000)


@pytest.fixture
def shaped_link() -> Iterator[Callable[[float], ShapedLink]]:
    """``shaped_link(100)`` makes a host behind 100 Mbit/s, on which programs are started with ``link.enter``."""
    if not available():
        (pytest.fail if promised() else pytest.skip)("this machine or user cannot make network namespaces or use tc")
    with ExitStack() as stack:
        yield lambda rate_mbit: stack.enter_context(ShapedLink(rate_mbit))
