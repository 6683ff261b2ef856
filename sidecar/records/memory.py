"""What this process remembers of the records in the registry, so that it need not read them again.

Everything here is a hint and may be dropped at any time; only the registry's own answers count. A remembered record
gives nobody the right to see it: `sidecar.records.repository` first asks the upstream on the caller's behalf.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

from reducto.oci.names import RepositoryName
from reducto.oci.transport import Caller
from reducto.values import Digest
from sidecar.records.format import ImageRecord, IndexRecord, LayerRecord, Record
from sidecar.runtime.recent import remember

#: The limit for each kind of entry, over all repositories. The least recently noted entries are dropped first.
_ENTRIES_LIMIT = 50_000

#: For how long an answer of the upstream to a caller is remembered.
_SHOWN_SECONDS = 60.0

_Key = tuple[RepositoryName, Digest]


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer's record, and the manifest in the upstream from which it was read."""

    layer: LayerRecord
    manifest_digest: Digest
    """The manifest is the layer's own record, or the record of an image that has the layer."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record, and the manifest in the upstream as which it is stored."""

    record: Record
    manifest_digest: Digest
    length: int
    """The manifest's length in bytes."""


class RecordMemory:
    """The remembered records of all repositories. One per process; `of` gives one repository's part."""

    def __init__(self) -> None:
        self.layers: OrderedDict[_Key, StoredLayer] = OrderedDict()
        self.manifests: OrderedDict[_Key, Digest] = OrderedDict()
        """For each original manifest, the digest of its record's manifest."""
        self.broken: OrderedDict[_Key, None] = OrderedDict()
        """Layers that could not be rebuilt."""
        self.verbatim: OrderedDict[_Key, None] = OrderedDict()
        """Blobs that are stored as they came."""

    def of(self, name: RepositoryName) -> RepositoryMemory:
        """What is remembered of one repository."""
        return RepositoryMemory(self, name)


class ShownMemory:
    """What the upstream has shown to whom within the last 60 seconds. One per process.

    A caller is known by a hash of his credentials. Nothing is granted by it: it saves the same question twice, and it
    decides whether hints may shorten an answer's way, so that its time tells a stranger nothing.
    """

    def __init__(self) -> None:
        self._shown: OrderedDict[tuple[bytes, RepositoryName, Digest | None], float] = OrderedDict()

    def note(self, caller: Caller, name: RepositoryName, digest: Digest | None = None) -> None:
        """The upstream showed this caller the blob or manifest; without a digest, anything in the repository."""
        remember(self._shown, (_caller_key(caller), name, digest), time.monotonic(), _ENTRIES_LIMIT)

    def knows(self, caller: Caller, name: RepositoryName, digest: Digest | None = None) -> bool:
        """Whether `note` was called for this within the last 60 seconds."""
        when = self._shown.get((_caller_key(caller), name, digest))
        return when is not None and time.monotonic() - when < _SHOWN_SECONDS


def _caller_key(caller: Caller) -> bytes:
    given = f"{caller.service}\n{caller.authorization or ''}"
    return hashlib.blake2b(given.encode(errors="surrogateescape"), digest_size=16).digest()


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
        """Drops everything that is remembered of a layer."""
        key = (self._name, digest)
        self._memory.broken.pop(key, None)
        self._memory.layers.pop(key, None)
        self._memory.verbatim.pop(key, None)

    def mark_broken(self, digest: Digest) -> None:
        """Notes that the layer cannot be rebuilt, so that a repeated push is stored instead of skipped."""
        remember(self._memory.broken, (self._name, digest), None, _ENTRIES_LIMIT)

    def unmark_broken(self, digest: Digest) -> None:
        """Notes that the layer was stored again, so that it can be rebuilt."""
        self._memory.broken.pop((self._name, digest), None)

    def is_broken(self, digest: Digest) -> bool:
        """Whether `mark_broken` was called for the layer, and the layer was not stored since."""
        return (self._name, digest) in self._memory.broken

    def note_verbatim(self, digest: Digest) -> None:
        """Notes that the blob is stored as it came, so that nobody searches for its record."""
        remember(self._memory.verbatim, (self._name, digest), None, _ENTRIES_LIMIT)

    def forget_verbatim(self, digest: Digest) -> None:
        """Undoes `note_verbatim`, because the upstream does not have the blob."""
        self._memory.verbatim.pop((self._name, digest), None)

    def is_verbatim(self, digest: Digest) -> bool:
        """Whether the blob was last seen stored as it came."""
        return (self._name, digest) in self._memory.verbatim

    # -- manifests

    def manifest(self, digest: Digest) -> Digest | None:
        """The digest of the manifest that is the record of the original manifest ``digest``."""
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
            # A layer's own record is preferred, because an image's record may name an older packing of a corpus.
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
