"""The comparison of two versions runs on small images: this version against itself, and with another chunk size."""

import gzip
import json
import re
import sys
import threading
import urllib.request
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.bench import compare_stores
from tests.bench.image_layout import OCI_MANIFEST, ImageLayout, StoredImage, digest_of, image_of
from tests.support import sidecar as sidecar_support
from tests.support.images import library_layer
from tests.support.process import free_port

pytestmark = [pytest.mark.integration, pytest.mark.slow]

REDUCTO = Path(sys.executable).with_name("reducto")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of one layer each, the second a rebuild of the first, as an OCI image layout."""
    layout = ImageLayout(tmp_path_factory.mktemp("images"))
    (layout.folder / "blobs" / "sha256").mkdir(parents=True)
    layout.write([put_image(layout, f"build-{version}", version) for version in (1, 2)])
    return layout.folder


def put_image(layout: ImageLayout, name: str, version: int) -> StoredImage:
    config = json.dumps({"architecture": "amd64", "os": "linux", "build": version}).encode()
    layer = gzip.compress(library_layer(version, 6_000_000).tar, 6, mtime=0)
    for blob in (config, layer):
        layout.blob(digest_of(blob)).write_bytes(blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe("application/vnd.oci.image.config.v1+json", config),
        "layers": [describe("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    }
    return image_of(name, OCI_MANIFEST, json.dumps(manifest, indent=3).encode())


def describe(media_type: str, blob: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest_of(blob), "size": len(blob)}


def run(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str | Path]) -> int:
    monkeypatch.setattr(sys, "argv", ["compare_stores", *map(str, arguments)])
    return compare_stores.main()


def test_a_version_stores_what_it_stored_before(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, [REDUCTO, REDUCTO, "--images", images, "--keep", tmp_path / "kept"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["build-1", "build-2"]
    assert all(line.endswith(": identical") for line in lines[:2])
    assert lines[-1] == "identical but for times and signatures"
    first, second = (digests(tmp_path / "kept" / side / "store") for side in ("old", "new"))
    assert first != second, "both really ran: their records have times"


def digests(store: Path) -> set[str]:
    return {path.name for path in store.rglob("blobs/*/*")}


def test_a_version_that_stores_other_bytes_is_noticed(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "reducto"
    other.write_text(f'#!/bin/sh\nREDUCTO_COMPRESSION_CHUNK_SIZE=16KiB exec {REDUCTO} "$@"\n')
    other.chmod(0o755)
    assert run(monkeypatch, [REDUCTO, other, "--images", images]) == 1
    told = capsys.readouterr().out
    assert "build-1" in told
    assert "DIFFERENCES" in told
    assert "DIFFERS after the pushes: manifest team/app reducto-sha256-" in told
    assert "DIFFERS after recompression: manifest team/app reducto-sha256-" in told
    # Of each manifest only the first differences are told, and which these are depends on this machine's libraries.
    assert re.search(r"\$\.layers\[\d+\]\.digest is 'sha256:", told), "instructions differ"


def test_a_port_that_another_server_took_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    ports = [other.server_port]
    monkeypatch.setattr(sidecar_support, "free_port", lambda: ports.pop() if ports else free_port())
    try:
        with compare_stores.serving(REDUCTO, tmp_path / "sidecar", tmp_path / "store", {}) as sidecar:
            assert sidecar.host != f"127.0.0.1:{other.server_port}"
            with urllib.request.urlopen(f"{sidecar.url}/v2/") as answer:
                assert answer.status == 200
    finally:
        other.shutdown()
        other.server_close()
