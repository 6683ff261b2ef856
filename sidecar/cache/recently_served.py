"""The layers that were served last from each repository: candidates for donors of deflate tokens.

The list is a hint, any part of which may be lost. Like the cached blobs it outlives the process, in a `StateFile`:

    {"version": 1, "repositories": {"team/app": ["sha256:...", ...]}}

The file has digests only. The records of layers that an earlier process served are read when a caller who may see them
pulls from the repository.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.cache.state_file import StateFile
from sidecar.records.format import LayerRecord
from sidecar.runtime.recent import remember

_VERSION = 1
_REPOSITORIES_LIMIT = 1024
_LAYERS_LIMIT = 256


class RecentlyServed:
    """The layers that were served last, by repository. One per process."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, _VERSION)
        self._layers: OrderedDict[RepositoryName, OrderedDict[Digest, LayerRecord]] = OrderedDict()
        """The layer served last stands last."""
        self._earlier: dict[RepositoryName, list[Digest]] = {}
        self._changed = False

    def note(self, repository: RepositoryName, layer: LayerRecord) -> None:
        """Notes that the layer was served now."""
        served = self._layers.get(repository, OrderedDict())
        self._changed = self._changed or layer.digest not in served
        remember(served, layer.digest, layer, _LAYERS_LIMIT)
        remember(self._layers, repository, served, _REPOSITORIES_LIMIT)

    def layers(self, repository: RepositoryName) -> Iterator[LayerRecord]:
        """The layers that were served from the repository, the latest first."""
        return reversed(self._layers.get(repository, OrderedDict()).values())

    def earlier(self, repository: RepositoryName) -> list[Digest]:
        """The digests of layers that an earlier process served, until `recall` replaces them."""
        return self._earlier.get(repository, [])

    def recall(self, repository: RepositoryName, layers: Iterable[LayerRecord]) -> None:
        """Replaces the digests from `earlier` by these records, in the same order. Digests without one are dropped."""
        served = OrderedDict((layer.digest, layer) for layer in layers)
        for layer in self._layers.get(repository, OrderedDict()).values():
            remember(served, layer.digest, layer, _LAYERS_LIMIT)
        self._earlier.pop(repository, None)
        remember(self._layers, repository, served, _REPOSITORIES_LIMIT)

    def restore(self) -> None:
        """Reads the file that an earlier process wrote. Runs on a worker, before the first request."""
        self._earlier = self._file.read(lambda digests: [Digest.parse(each) for each in digests])

    def changes(self, is_cached: Callable[[Digest], bool]) -> bytes | None:
        """The new content of the file; None if no other layer was served since the last call.

        Only layers for which ``is_cached`` is true are written.
        """
        if not self._changed:
            return None
        self._changed = False
        names = {**self._earlier}
        for repository, layers in self._layers.items():
            names[repository] = [*(each for each in names.get(repository, []) if each not in layers), *layers]
        cached = {name: [str(each) for each in digests if is_cached(each)] for name, digests in names.items()}
        return self._file.encode(cached)

    def write(self, data: bytes) -> None:
        """Writes the content from `changes`. Runs on a worker."""
        self._file.write(data)
