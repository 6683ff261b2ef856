"""Original manifests that are too large to travel inside their record: packed into a blob of their own.

The blob is compressed not only for its size: under the original's own digest a registry could serve it as a manifest
(docker-registry 2.8 does), which then would outlive the deletion of its record.

An image record names the blob among its layers. An index can name only manifests: there a *carrier*, a small manifest
that names the blob, stands behind the children.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import zstandard

from reducto import bounded
from reducto.oci.manifest import OCI_MANIFEST
from reducto.values import Descriptor, Digest

PACKED_TYPE = "application/vnd.reducto.original.v1+zstd"
CARRIER_TYPE = "application/vnd.reducto.original.v1"

#: Registries take manifests of up to 4 MiB; a larger original than this does not travel inside its record.
EMBEDDED_LIMIT_BYTES = 1 << 20
#: An original is never longer than this, whatever its blob says.
ORIGINAL_LIMIT_BYTES = 8 << 20
_LEVEL = 9


def pack(original: bytes) -> tuple[Descriptor, bytes] | None:
    """The blob that holds the original; None when that travels inside its record."""
    return None if len(original) <= EMBEDDED_LIMIT_BYTES else _packed(original)


@lru_cache(maxsize=2)
def _packed(original: bytes) -> tuple[Descriptor, bytes]:
    """Remembered: storing one record asks several times."""
    data = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(original)
    return Descriptor(PACKED_TYPE, Digest.of(data), len(data)), data


def unpack(data: bytes) -> bytes:
    """The original again. Raises `Corrupt`."""
    return bounded.decompress(data, ORIGINAL_LIMIT_BYTES, "a packed original manifest")


def carrier(blob: dict[str, Any], config: dict[str, Any]) -> tuple[Descriptor, bytes]:
    """The manifest that names the packed original for an index's record. ``blob`` is its annotated descriptor."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": CARRIER_TYPE,
        "config": config,
        "layers": [blob],
    }
    data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    return Descriptor(OCI_MANIFEST, Digest.of(data), len(data)), data
