"""Stores the originals of reduced blobs in the upstream."""

from __future__ import annotations

import secrets
from pathlib import Path

from sidecar.pull.decoders import LayerDecoders, write_layer
from sidecar.records.format import LayerRecord
from sidecar.records.repository import Repository
from sidecar.runtime.offload import Offload


class BlobRestorer:
    """Restores blobs. Each is rebuilt into a file in ``scratch`` first. One per process."""

    def __init__(self, decoders: LayerDecoders, scratch: Path, offload: Offload) -> None:
        self._decoders = decoders
        self._scratch = scratch
        self._offload = offload

    async def restore(self, repository: Repository, layer: LayerRecord) -> None:
        """Stores the layer in the repository as it was pushed, unless it is there. The layer's record stays.

        Raises `Refused`, `Unavailable`, and the errors of a rebuild, after which nothing was stored.
        """
        if await repository.has_blob(layer.digest):
            return
        path = self._scratch / f"restore-{secrets.token_hex(8)}"
        decoder = await self._decoders.decoder(repository, layer)
        try:
            await self._offload.run(write_layer, layer, decoder, path)
            await repository.put_blob(layer.digest, path)
        finally:
            await self._offload.run(decoder.close)
            await self._offload.io(path.unlink, True)
