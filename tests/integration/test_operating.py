"""docs/operating.md is true: registry and keys are a complete backup, and rehydrating leaves plain images."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reducto.cli import main
from tests.chart.generate import CHART
from tests.support.process import run
from tests.support.registries import Registry, start_registry
from tests.support.requirements import require_registry
from tests.support.sidecar import Sidecar

pytestmark = [pytest.mark.integration, pytest.mark.slow]
REPOSITORY, TAGS = "team/app", ("v1", "v2")
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextmanager
def registry_on(folder: Path) -> Iterator[Registry]:
    require_registry("docker-registry")
    registry = start_registry("docker-registry", folder)
    try:
        yield registry
    finally:
        registry.daemon.stop()


def contents(url: str) -> dict[str, str]:
    """For every manifest and blob of the repository: the digest by which it is named -> the sha256 of what was read."""
    found = {}
    for tag in TAGS:
        request = urllib.request.Request(f"{url}/v2/{REPOSITORY}/manifests/{tag}", headers={"Accept": OCI_MANIFEST})
        with urllib.request.urlopen(request, timeout=30) as answer:
            manifest = answer.read()
            found[answer.headers["Docker-Content-Digest"]] = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        for descriptor in [json.loads(manifest)["config"], *json.loads(manifest)["layers"]]:
            with urllib.request.urlopen(f"{url}/v2/{REPOSITORY}/blobs/{descriptor['digest']}", timeout=60) as answer:
                found[descriptor["digest"]] = f"sha256:{hashlib.sha256(answer.read()).hexdigest()}"
    return found


def make_keys(folder: Path) -> dict[str, Any]:
    """The ``security`` section of a configuration with signing and encryption."""
    trusted = folder / "trusted"
    trusted.mkdir(parents=True)
    assert main(["keys", "generate", str(folder / "signing.pem"), "--trust-dir", str(trusted)]) == 0
    assert main(["keys", "generate", str(folder / "kek.key"), "--kind", "kek"]) == 0
    return {
        "signing": {"key": str(folder / "signing.pem"), "trusted_keys": [str(trusted)], "required": True},
        "encryption": {"keys": [str(folder / "kek.key")]},
    }


@pytest.mark.parametrize("with_keys", [False, True], ids=["plain", "signed-and-encrypted"])
def test_a_copy_of_the_registry_and_the_keys_is_a_complete_backup(tmp_path: Path, with_keys: bool) -> None:
    settings = {"security": make_keys(tmp_path / "keys")} if with_keys else {}
    with registry_on(tmp_path / "registry") as registry, Sidecar(tmp_path / "one", registry.url, settings) as sidecar:
        run(sys.executable, CHART / "files" / "push_pull.py", sidecar.url, REPOSITORY)
        before = contents(sidecar.url)
        metrics = sidecar.metrics()
    assert all(named == real for named, real in before.items())
    assert metrics['reducto_decisions_total{outcome="reduced",reason="reduced"}'] == 2

    shutil.copytree(tmp_path / "registry" / "storage", tmp_path / "restored" / "storage")
    shutil.rmtree(tmp_path / "registry")
    shutil.rmtree(tmp_path / "one")
    if with_keys:
        shutil.copytree(tmp_path / "keys", tmp_path / "elsewhere")
        shutil.rmtree(tmp_path / "keys")
        settings = json.loads(json.dumps(settings).replace(str(tmp_path / "keys"), str(tmp_path / "elsewhere")))
    with registry_on(tmp_path / "restored") as registry, Sidecar(tmp_path / "two", registry.url, settings) as sidecar:
        assert contents(sidecar.url) == before


def test_without_the_keys_nothing_wrong_is_served(tmp_path: Path) -> None:
    settings = {"security": make_keys(tmp_path / "keys")}
    with registry_on(tmp_path / "registry") as registry:
        with Sidecar(tmp_path / "one", registry.url, settings) as sidecar:
            run(sys.executable, CHART / "files" / "push_pull.py", sidecar.url, REPOSITORY)
        with Sidecar(tmp_path / "two", registry.url) as sidecar, pytest.raises(urllib.error.HTTPError) as refused:
            contents(sidecar.url)
        assert refused.value.code >= 400
        document = json.loads(refused.value.read())
        assert document["errors"][0]["message"]


def test_after_rehydrating_the_registry_serves_the_same_without_reducto(tmp_path: Path) -> None:
    with registry_on(tmp_path / "registry") as registry:
        with Sidecar(tmp_path / "one", registry.url) as sidecar:
            run(sys.executable, CHART / "files" / "push_pull.py", sidecar.url, REPOSITORY)
            before = contents(sidecar.url)
        assert contents(registry.url) != before
        file = tmp_path / "one" / "sidecar.yaml"
        assert main(["fsck", "--config", str(file)]) == 0
        assert main(["rehydrate", "--config", str(file)]) == 0
        assert contents(registry.url) == before
        tags = urllib.request.urlopen(f"{registry.url}/v2/{REPOSITORY}/tags/list", timeout=30).read()
        assert sorted(json.loads(tags)["tags"]) == list(TAGS)
