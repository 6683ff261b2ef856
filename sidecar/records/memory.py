"""What this process remembers of records. Everything here is a hint: the registry has the truth, and any of it may go.

A remembered record is no right to see it: `sidecar.records.repository` asks the upstream on the caller's behalf first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from reducto.oci.names import RepositoryName
from reducto.values import Digest
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord, Record
from sidecar.runtime.recent import remember

#: Entries of each kind over all repositories; the least recently noted go first.
_ENTRIES_LIMIT = 50_000

_Key = tuple[RepositoryName, Digest]


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer's record, and the digest of the manifest that holds it: the layer's own record, or an image's."""

    layer: LayerRecord
    manifest_digest: Digest


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record, and the manifest in the upstream that holds it."""

    record: Record
    manifest_digest: Digest
    length: int
    """Bytes of that manifest."""


class RecordMemory:
    """The remembered records of all repositories. One per process; `of` gives one repository's part."""

    def __init__(self) -> None:
        self.layers: OrderedDict[_Key, StoredLayer] = OrderedDict()
        self.manifests: OrderedDict[_Key, Digest] = OrderedDict()
        self.broken: OrderedDict[_Key, None] = OrderedDict()
        self.verbatim: OrderedDict[_Key, None] = OrderedDict()

    def of(self, name: RepositoryName) -> RepositoryMemory:
        """What is remembered of one repository."""
        return RepositoryMemory(self, name)


class RepositoryMemory:
    """What is remembered of one repository's records, by the digests that clients use."""

    def __init__(self, memory: RecordMemory, name: RepositoryName) -> None:
        self._memory = memory
        self._name = name

    # -- layers

    def layer(self, digest: Digest) -> StoredLayer | None:
        """The layer's record as it was last read or written."""
        return self._memory.layers.get((self._name, digest))

    def forget_layer(self, digest: Digest) -> None:
        """Drops all that is remembered of a layer."""
        key = (self._name, digest)
        self._memory.broken.pop(key, None)
        self._memory.layers.pop(key, None)
        self._memory.verbatim.pop(key, None)

    def mark_broken(self, digest: Digest) -> None:
        """Notes that the layer cannot be rebuilt, so that a repeated push is stored instead of skipped."""
        remember(self._memory.broken, (self._name, digest), None, _ENTRIES_LIMIT)

    def unmark_broken(self, digest: Digest) -> None:
        """Notes that the layer was stored anew."""
        self._memory.broken.pop((self._name, digest), None)

    def is_broken(self, digest: Digest) -> bool:
        """Whether `mark_broken` was called for the layer and it was not stored since."""
        return (self._name, digest) in self._memory.broken

    def note_verbatim(self, digest: Digest) -> None:
        """Notes that the blob is stored as it came: this saves a search for its record."""
        remember(self._memory.verbatim, (self._name, digest), None, _ENTRIES_LIMIT)

    def forget_verbatim(self, digest: Digest) -> None:
        """Takes `note_verbatim` back, because the upstream does not have the blob."""
        self._memory.verbatim.pop((self._name, digest), None)

    def is_verbatim(self, digest: Digest) -> bool:
        """Whether the blob was last seen stored as it came."""
        return (self._name, digest) in self._memory.verbatim

    # -- manifests

    def manifest(self, digest: Digest) -> Digest | None:
        """The digest of the manifest that holds the record of an original manifest."""
        return self._memory.manifests.get((self._name, digest))

    def forget_manifest(self, digest: Digest) -> None:
        """Drops what is remembered of an original manifest."""
        self._memory.manifests.pop((self._name, digest), None)

    # -- both

    def note(self, record: Record, manifest_digest: Digest) -> tuple[LayerRecord, ...]:
        """Remembers a record that was read or written just now; returns the layer records in it."""
        if isinstance(record, IndexRecord):
            self._note_manifest(record, manifest_digest)
            return ()
        layers = (record,) if isinstance(record, LayerRecord) else record.layers
        for layer in layers:
            key = (self._name, layer.digest)
            # A layer's own record is the better source: an image's may name an older packing of a corpus.
            if isinstance(record, LayerRecord) or key not in self._memory.layers:
                remember(self._memory.layers, key, StoredLayer(layer, manifest_digest), _ENTRIES_LIMIT)
                self._memory.verbatim.pop(key, None)
        if isinstance(record, ImageRecord):
            self._note_manifest(record, manifest_digest)
            for blob in record.stored:
                self.note_verbatim(blob.digest)
        return layers

    def _note_manifest(self, record: ImageRecord | IndexRecord, manifest_digest: Digest) -> None:
        remember(self._memory.manifests, (self._name, record.digest), manifest_digest, _ENTRIES_LIMIT)
