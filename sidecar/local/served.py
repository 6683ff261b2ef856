"""Which layers were served from each repository, the latest last. A hint: any of it may be lost.

It outlives the process, like the cached blobs it is about, in one file:

    {"version": 1, "repositories": {"team/app": ["sha256:...", ...]}}

Of what an earlier process served only the digests are known until somebody who may see the records asks for them.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from reducto.errors import ReductoError
from reducto.model import Digest
from sidecar.names import Repository
from sidecar.runtime import logs
from sidecar.runtime.atomic import write_atomically
from sidecar.runtime.recent import remember
from sidecar.stored.records import LayerRecord

_VERSION = 1
_REPOSITORIES_LIMIT = 1024
_LAYERS_LIMIT = 256


class Served:
    """One per process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._layers: OrderedDict[Repository, OrderedDict[Digest, LayerRecord]] = OrderedDict()
        self._earlier: dict[Repository, list[Digest]] = {}
        self._changed = False

    def note(self, repository: Repository, layer: LayerRecord) -> None:
        """The layer was served now."""
        served = self._layers.get(repository, OrderedDict())
        self._changed = self._changed or layer.digest not in served
        remember(served, layer.digest, layer, _LAYERS_LIMIT)
        remember(self._layers, repository, served, _REPOSITORIES_LIMIT)

    def layers(self, repository: Repository) -> Iterator[LayerRecord]:
        """Those served, the latest first."""
        return reversed(self._layers.get(repository, OrderedDict()).values())

    def earlier(self, repository: Repository) -> list[Digest]:
        """Digests of what an earlier process served and nobody has asked for yet."""
        return self._earlier.get(repository, [])

    def recall(self, repository: Repository, layers: Iterable[LayerRecord]) -> None:
        """These are `earlier`'s, in its order; digests that have no record any more are forgotten."""
        served = OrderedDict((layer.digest, layer) for layer in layers)
        for layer in self._layers.get(repository, OrderedDict()).values():
            remember(served, layer.digest, layer, _LAYERS_LIMIT)
        self._earlier.pop(repository, None)
        remember(self._layers, repository, served, _REPOSITORIES_LIMIT)

    def restore(self) -> None:
        """Reads what an earlier process wrote. For a worker, before anything is served."""
        for part in self._path.parent.glob(f".{self._path.name}.*"):
            part.unlink()  # of a process that was killed as it wrote
        try:
            found = json.loads(self._path.read_bytes())
            if found["version"] != _VERSION:
                raise ValueError(f"version {found['version']}")
            self._earlier = {
                Repository.parse(name): [Digest.parse(each) for each in digests]
                for name, digests in found["repositories"].items()
            }
        except FileNotFoundError:
            return
        except (OSError, ReductoError, ValueError, LookupError, TypeError, AttributeError) as error:
            logs.event("served-unreadable", path=str(self._path), error=str(error)[:200])

    def changes(self, is_kept: Callable[[Digest], bool]) -> bytes | None:
        """The file as it should be, of those layers alone that are kept; None if nothing was served since last time."""
        if not self._changed:
            return None
        self._changed = False
        names = {**self._earlier}
        for repository, layers in self._layers.items():
            names[repository] = [*(each for each in names.get(repository, []) if each not in layers), *layers]
        kept = {str(name): [str(each) for each in digests if is_kept(each)] for name, digests in names.items()}
        document = {"version": _VERSION, "repositories": {name: digests for name, digests in kept.items() if digests}}
        return json.dumps(document, indent=1).encode()

    def write(self, data: bytes) -> None:
        """For a worker. A disk that takes nothing costs only time, after the next start."""
        try:
            write_atomically(self._path, data)
        except OSError as error:
            logs.event("served-not-kept", path=str(self._path), error=str(error)[:200])
