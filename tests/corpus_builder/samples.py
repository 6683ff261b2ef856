"""Inputs for the tests that build corpora."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reducto.directory_tar import directory_tar
from tests.corpus.samples import noise


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Writes these files below a directory and returns the directory."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files, whose modification times count up from a fixed second."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, (name, content) in enumerate(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000 + number
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def write_layout(root: Path, images: list[list[bytes]]) -> Path:
    """Writes an OCI layout with these images. Each image is a list of plain layers, which are stored as gzip."""
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    config = put(b"{}", "application/vnd.oci.image.config.v1+json")
    manifests = []
    for layers in images:
        descriptors = [put(gzip.compress(x, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for x in layers]
        manifest = {"schemaVersion": 2, "config": config, "layers": descriptors}
        manifests.append(put(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json"))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return root


def tree_bytes(root: Path) -> bytes:
    """A directory's tar as the builder reads it."""
    return b"".join(directory_tar(root, keep_times=False))


__all__ = ["noise", "tar_of", "tree_bytes", "write_layout", "write_tree"]
