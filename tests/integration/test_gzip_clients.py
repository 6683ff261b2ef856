"""Layers that real clients pushed to a real registry are rebuilt bit for bit from their plain bytes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gzip.helpers import assert_exact, workers
from tests.support.clients import Client
from tests.support.fixtures import MakeClient
from tests.support.images import busybox_layer, library_layer
from tests.support.process import Daemon, find_tool, run
from tests.support.registries import Registry
from tests.support.requirements import require_root, require_tool

pytestmark = pytest.mark.integration

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def fetch(registry: Registry, path: str) -> bytes:
    """The body of a GET below the repository."""
    request = urllib.request.Request(f"{registry.url}/v2/team/app/{path}", headers={"Accept": MANIFESTS})
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def check_layers(registry: Registry, pushed_by: str) -> None:
    """Fails unless every gzip layer of ``team/app:1`` is rebuilt bit for bit by a recipe of a useful size."""
    manifest: dict[str, Any] = json.loads(fetch(registry, "manifests/1"))
    layers = [layer for layer in manifest["layers"] if layer["mediaType"].endswith("gzip")]
    assert layers
    for layer in layers:
        wire = fetch(registry, f"blobs/{layer['digest']}")
        with workers() as submit:
            exact = assert_exact(None, zlib.decompress(wire, 31), wire, submit=submit)
        assert exact.recipe_bytes < max(200, len(wire) // 500), exact.encoder
        print(f"{pushed_by}: {len(wire)} bytes by {exact.encoder}, recipe {exact.recipe_bytes}")


def test_pushed_layers_are_exact(each_client: Client, registry: Registry, application: Callable[[int], Path]) -> None:
    each_client.push(application(1), f"{registry.host}/team/app:1")
    check_layers(registry, each_client.name)


@pytest.fixture
def build_context(tmp_path: Path) -> Path:
    """Writes a Dockerfile that copies two layers' files into an empty image, which needs no other image or command."""
    folder = tmp_path / "context"
    for number, layer in enumerate((busybox_layer(), library_layer(1))):
        with tarfile.open(fileobj=io.BytesIO(layer.tar)) as archive:
            archive.extractall(folder / str(number), filter="data")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY 0 /\nCOPY 1 /\n")
    return folder


def docker_with_buildkit() -> Path:
    """A docker client that uses the engine's BuildKit itself. From release 23 on docker needs buildx for that."""
    for folder in os.environ["PATH"].split(os.pathsep):
        found = Path(folder) / "docker"
        if found.exists() and re.search(r"version (18\.09|19|20)\.", run(found, "--version")):
            return found
    pytest.skip("no docker client of release 18.09 to 20.10, whose BuildKit needs no buildx")


def test_layers_built_by_dockers_buildkit_are_exact(
    make_client: MakeClient, registry: Registry, build_context: Path
) -> None:
    docker = make_client("docker")
    docker.program = docker_with_buildkit()
    docker.environment["DOCKER_BUILDKIT"] = "1"
    reference = f"{registry.host}/team/app:1"
    docker("build", "--network=host", "--tag", reference, build_context)
    docker("push", reference)
    check_layers(registry, "docker with BuildKit")


def test_layers_pushed_by_buildkit_are_exact(tmp_path: Path, registry: Registry, build_context: Path) -> None:
    """BuildKit without docker compresses and pushes layers itself."""
    require_root()
    require_tool("buildkitd", "buildctl")
    daemon, client = find_tool("buildkitd"), find_tool("buildctl")
    assert daemon is not None
    assert client is not None
    address = f"unix://{tempfile.mkdtemp(prefix='rd-buildkit-', dir='/tmp')}/socket"
    words = [daemon, "--addr", address, "--root", tmp_path / "buildkit", "--oci-worker-snapshotter", "native"]
    words += ["--oci-worker-net", "host", "--containerd-worker", "false"]

    def answers() -> bool:
        return subprocess.run([client, "--addr", address, "debug", "workers"], capture_output=True).returncode == 0

    server = Daemon(words, tmp_path / "buildkitd.log", answers)
    server.start()
    try:
        output = f"type=image,name={registry.host}/team/app:1,push=true,registry.insecure=true"
        local = [f"--local={name}={build_context}" for name in ("context", "dockerfile")]
        run(client, "--addr", address, "build", "--frontend=dockerfile.v0", *local, "--output", output)
        check_layers(registry, "buildkitd")
    finally:
        server.stop()
