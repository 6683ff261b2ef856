"""Which layers were served from each repository, the latest last. A hint: any of it may be lost.

It outlives the process, like the cached blobs it is about, in one file (`StateFile`):

    {"version": 1, "repositories": {"team/app": ["sha256:...", ...]}}

Of what an earlier process served only the digests are known until somebody who may see the records asks for them.
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
    """One per process."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, _VERSION)
        self._layers: OrderedDict[RepositoryName, OrderedDict[Digest, LayerRecord]] = OrderedDict()
        self._earlier: dict[RepositoryName, list[Digest]] = {}
        self._changed = False

    def note(self, repository: RepositoryName, layer: LayerRecord) -> None:
        """The layer was served now."""
        served = self._layers.get(repository, OrderedDict())
        self._changed = self._changed or layer.digest not in served
        remember(served, layer.digest, layer, _LAYERS_LIMIT)
        remember(self._layers, repository, served, _REPOSITORIES_LIMIT)

    def layers(self, repository: RepositoryName) -> Iterator[LayerRecord]:
        """Those served, the latest first."""
        return reversed(self._layers.get(repository, OrderedDict()).values())

    def earlier(self, repository: RepositoryName) -> list[Digest]:
        """Digests of what an earlier process served and nobody has asked for yet."""
        return self._earlier.get(repository, [])

    def recall(self, repository: RepositoryName, layers: Iterable[LayerRecord]) -> None:
        """These are `earlier`'s, in its order; digests that have no record any more are forgotten."""
        served = OrderedDict((layer.digest, layer) for layer in layers)
        for layer in self._layers.get(repository, OrderedDict()).values():
            remember(served, layer.digest, layer, _LAYERS_LIMIT)
        self._earlier.pop(repository, None)
        remember(self._layers, repository, served, _REPOSITORIES_LIMIT)

    def restore(self) -> None:
        """Reads what an earlier process wrote. For a worker, before anything is served."""
        self._earlier = self._file.read(lambda digests: [Digest.parse(each) for each in digests])

    def changes(self, is_kept: Callable[[Digest], bool]) -> bytes | None:
        """The file as it should be, of those layers alone that are kept; None if nothing was served since last time."""
        if not self._changed:
            return None
        self._changed = False
        names = {**self._earlier}
        for repository, layers in self._layers.items():
            names[repository] = [*(each for each in names.get(repository, []) if each not in layers), *layers]
        kept = {name: [str(each) for each in digests if is_kept(each)] for name, digests in names.items()}
        return self._file.encode(kept)

    def write(self, data: bytes) -> None:
        """For a worker."""
        self._file.write(data)
