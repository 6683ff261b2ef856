"""Overflow: an original manifest that is too large to travel inside its record lies in a blob of its own.

The blob is compressed not only for its size. Under the original's own digest a registry could serve the blob as a
manifest (docker-registry 2.8 does), and that manifest would then outlive the deletion of its record.

An image record names the *overflow blob* among its layers. An index record can name only manifests, so it names an
*overflow manifest* behind its children: a small manifest whose one layer is the overflow blob.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import zstandard

from reducto import bounded
from reducto.oci.manifest import OCI_MANIFEST
from reducto.values import Descriptor, Digest

OVERFLOW_BLOB_TYPE = "application/vnd.reducto.original.v1+zstd"
OVERFLOW_MANIFEST_TYPE = "application/vnd.reducto.original.v1"

#: A larger original travels in an overflow blob, because registries take manifests of up to 4 MiB and a record holds
#: its original in base64, beside everything else.
EMBEDDED_LIMIT_BYTES = 1 << 20
#: An overflow blob that decompresses to more than this is refused.
ORIGINAL_LIMIT_BYTES = 8 << 20
_LEVEL = 9


def pack(original: bytes) -> tuple[Descriptor, bytes] | None:
    """The overflow blob of an original manifest; None when the original travels inside its record."""
    return None if len(original) <= EMBEDDED_LIMIT_BYTES else _packed(original)


@lru_cache(maxsize=2)
def _packed(original: bytes) -> tuple[Descriptor, bytes]:
    """The overflow blob. The last two are remembered, because storing one record asks for its blob several times."""
    data = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(original)
    return Descriptor(OVERFLOW_BLOB_TYPE, Digest.of(data), len(data)), data


def unpack(data: bytes) -> bytes:
    """The original manifest in an overflow blob. Raises `Corrupt`."""
    return bounded.decompress(data, ORIGINAL_LIMIT_BYTES, "a packed original manifest")


def manifest_for(blob: dict[str, Any], config: dict[str, Any]) -> tuple[Descriptor, bytes]:
    """The overflow manifest that an index record names. ``blob`` is the annotated descriptor of its overflow blob."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": OVERFLOW_MANIFEST_TYPE,
        "config": config,
        "layers": [blob],
    }
    data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    return Descriptor(OCI_MANIFEST, Digest.of(data), len(data)), data
