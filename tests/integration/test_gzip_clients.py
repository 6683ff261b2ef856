"""Layers that real clients pushed to a real registry come back bit for bit from their plain bytes."""

from __future__ import annotations

import json
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gzip.helpers import assert_exact, workers
from tests.support.clients import Client
from tests.support.registries import Registry

pytestmark = pytest.mark.integration

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def fetch(registry: Registry, path: str) -> bytes:
    """The body of a GET below the repository."""
    request = urllib.request.Request(f"{registry.url}/v2/team/app/{path}", headers={"Accept": MANIFESTS})
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def test_pushed_layers_are_exact(each_client: Client, registry: Registry, application: Callable[[int], Path]) -> None:
    each_client.push(application(1), f"{registry.host}/team/app:1")
    manifest: dict[str, Any] = json.loads(fetch(registry, "manifests/1"))
    layers = [layer for layer in manifest["layers"] if layer["mediaType"].endswith("gzip")]
    assert layers
    for layer in layers:
        wire = fetch(registry, f"blobs/{layer['digest']}")
        with workers() as submit:
            exact = assert_exact(None, zlib.decompress(wire, 31), wire, submit=submit)
        assert exact.recipe_bytes < max(200, len(wire) // 500), exact.encoder
        print(f"{each_client.name}: {len(wire)} bytes by {exact.encoder}, recipe {exact.recipe_bytes}")
