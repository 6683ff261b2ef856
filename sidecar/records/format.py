"""Records: the OCI manifests that say how what clients pushed is rebuilt.

A *layer record* names one layer's instructions and the packed corpora they need. An *image record* embeds an image
manifest's exact bytes and names everything that image needs. An *index record* is an OCI index that names its
children's records, so that a recursive copy takes everything. All are ordinary manifests: any registry stores them,
any tool copies them, and every blob they need is named, so that garbage collection leaves it alone.

The format is described in docs/formats/records.md; this module is its only reader and writer, and does no I/O.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from reducto.errors import Corrupt, NotReducto, UsageError
from reducto.oci.manifest import OCI_INDEX, OCI_MANIFEST, descriptor_of
from reducto.values import CorpusId, Descriptor, Digest, parse_corpus_id
from sidecar.records import originals

LAYER_TYPE = "application/vnd.reducto.layer.v1"
IMAGE_TYPE = "application/vnd.reducto.image.v1"
INDEX_TYPE = "application/vnd.reducto.index.v1"
INSTRUCTIONS_TYPE = "application/vnd.reducto.instructions.v1"
PACKED_CORPUS_TYPE = "application/vnd.reducto.corpus.layer.v1+zstd"
TOKEN_DELTA_TYPE = "application/vnd.reducto.token-delta.v1"  # noqa: S105 (of deflate)

#: The config of every record. Not the usual ``{}``: that is a blob which clients push and delete, too.
CONFIG = b'{"stored":"reduced"}'
CONFIG_DESCRIPTOR = Descriptor("application/vnd.reducto.config.v1+json", Digest.of(CONFIG), len(CONFIG))
_CONFIG_JSON = {**CONFIG_DESCRIPTOR.to_json(), "data": base64.b64encode(CONFIG).decode()}

VERSION = "1"

_KEY = "io.reducto."
_VERSION, _MANIFEST, _MANIFEST_TYPE = _KEY + "version", _KEY + "manifest", _KEY + "manifest.media-type"
_RECEIPT = _KEY + "receipt"
_CREATED = "org.opencontainers.image.created"
_LAYER, _LENGTH, _NEEDS = _KEY + "layer.digest", _KEY + "layer.length", _KEY + "layer.corpora"
_CORPUS, _PLAIN, _PARENTS, _HOOKS = _KEY + "corpus.id", _KEY + "corpus.length", _KEY + "corpus.parents", _KEY + "hooks"
_DELTA_LAYER, _DELTA_OLDER = _KEY + "token-delta.layer", _KEY + "token-delta.older"
_STORED, _ENVELOPE = _KEY + "stored", _KEY + "envelope"


@dataclass(frozen=True, slots=True)
class CorpusBlob:
    """Where a layer corpus lies packed today. Its identity stays when it is packed anew."""

    corpus_id: CorpusId
    blob: Descriptor
    plain_length: int
    parents: tuple[CorpusId, ...] = ()
    """Corpora whose bytes its frames were compressed against."""
    hooks: bytes = b""
    """A sample of its hooks, eight bytes each, little-endian, ascending: what finds it as a reference."""
    envelope: str = ""
    """The blob's wrapped key when it is encrypted (`reducto.crypt.Envelope`)."""

    def to_json(self) -> dict[str, Any]:
        """The descriptor with what a reader must know before it fetches the blob."""
        notes = {_CORPUS: str(self.corpus_id), _PLAIN: str(self.plain_length)}
        if self.parents:
            notes[_PARENTS] = ",".join(self.parents)
        if self.hooks:
            notes[_HOOKS] = base64.b64encode(self.hooks).decode()
        if self.envelope:
            notes[_ENVELOPE] = self.envelope
        return replace(self.blob, annotations=notes).to_json()

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """What `to_json` wrote. Raises `KeyError`, `TypeError`, `ValueError` or `UsageError`."""
        notes = item["annotations"]
        return cls(
            parse_corpus_id(notes[_CORPUS]),
            replace(descriptor_of(item), annotations={}),
            int(notes[_PLAIN]),
            tuple(parse_corpus_id(text) for text in notes.get(_PARENTS, "").split(",") if text),
            base64.b64decode(notes.get(_HOOKS, ""), validate=True),
            notes.get(_ENVELOPE, ""),
        )


@dataclass(frozen=True, slots=True)
class TokenDeltaBlob:
    """Where it is stated which tokens of an older layer a layer keeps. A hint: rebuilding goes without it, too."""

    older: Digest
    blob: Descriptor
    envelope: str = ""
    """The blob's wrapped key when it is encrypted (`reducto.crypt.Envelope`)."""

    def to_json(self, layer: Digest) -> dict[str, Any]:
        """The descriptor, with what must be known before the blob is fetched."""
        notes = {_DELTA_LAYER: str(layer), _DELTA_OLDER: str(self.older)}
        if self.envelope:
            notes[_ENVELOPE] = self.envelope
        return replace(self.blob, annotations=notes).to_json()

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """What `to_json` wrote. Raises as `CorpusBlob.from_json`."""
        notes = item["annotations"]
        blob = replace(descriptor_of(item), annotations={})
        return cls(Digest.parse(notes[_DELTA_OLDER]), blob, notes.get(_ENVELOPE, ""))


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """How one layer is rebuilt."""

    digest: Digest
    wire_length: int
    instructions: Descriptor
    corpora: tuple[CorpusBlob, ...]
    """Everything the rebuild needs, parents before those that need them."""
    bases: tuple[CorpusId, ...] = ()
    """Base corpora, which lie in a repository of their own and are named only."""
    receipt: dict[str, Any] = field(default_factory=dict, compare=False)
    envelope: str = ""
    """The wrapped key of the instructions when they are encrypted (`reducto.crypt.Envelope`)."""
    created: float = field(default_factory=time.time, compare=False)
    """Seconds since 1970."""
    token_delta: TokenDeltaBlob | None = None

    def to_manifest(self) -> bytes:
        """The layer record as manifest bytes."""
        layers = [self.descriptor(), *(corpus.to_json() for corpus in self.corpora), *self.hints()]
        created = datetime.fromtimestamp(self.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        receipt = json.dumps(self.receipt, separators=(",", ":"))
        return _manifest(LAYER_TYPE, layers, {_RECEIPT: receipt, _CREATED: created})

    def descriptor(self) -> dict[str, Any]:
        """The instructions' descriptor, which says what they rebuild and from which corpora."""
        needs = [str(corpus.corpus_id) for corpus in self.corpora] + [f"base:{name}" for name in self.bases]
        notes = {_LAYER: str(self.digest), _LENGTH: str(self.wire_length), _NEEDS: ",".join(needs)}
        if self.envelope:
            notes[_ENVELOPE] = self.envelope
        return replace(self.instructions, annotations=notes).to_json()

    def hints(self) -> list[dict[str, Any]]:
        """Descriptors of what the rebuild does without if it must."""
        return [self.token_delta.to_json(self.digest)] if self.token_delta is not None else []

    @property
    def needed_blobs(self) -> list[Descriptor]:
        """What the rebuild needs in this repository."""
        return [self.instructions, *(corpus.blob for corpus in self.corpora)]

    @property
    def recipe_id(self) -> str:
        """The same for records that rebuild the layer in the same way from the same blobs."""
        said = [self.descriptor(), *(corpus.to_json() for corpus in self.corpora)]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def rewrapped(self, rewrap: Callable[[str], str]) -> LayerRecord:
        """The same record with ``rewrap`` of every envelope: for another repository, or another key."""
        corpora = tuple(replace(corpus, envelope=rewrap(corpus.envelope)) for corpus in self.corpora)
        delta = self.token_delta and replace(self.token_delta, envelope=rewrap(self.token_delta.envelope))
        return replace(self, envelope=rewrap(self.envelope), corpora=corpora, token_delta=delta)


@dataclass(frozen=True, slots=True)
class _DocumentRecord:
    """A record that gives back a manifest or an index, whose bytes travel with it."""

    original: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        """The original document's sha256."""
        return Digest.of(self.original)

    def rebuilds(self, digest: Digest) -> bool:
        """Whether this is the original's digest, by whatever algorithm."""
        return Digest.of(self.original, digest.algorithm) == digest


@dataclass(frozen=True, slots=True)
class ImageRecord(_DocumentRecord):
    """A manifest some of whose blobs are stored reduced."""

    layers: tuple[LayerRecord, ...]
    stored: tuple[Descriptor, ...]
    subject: Descriptor | None = None

    def to_manifest(self) -> bytes:
        """The image record as manifest bytes: the same for the same image and layer records."""
        layers: dict[str, dict[str, Any]] = {}
        for stored in self.stored:
            layers[str(stored.digest)] = {**stored.to_json(), "annotations": {_STORED: "true"}}
        for layer in self.layers:
            layers[f"{layer.instructions.digest} {layer.digest}"] = layer.descriptor()
            for corpus in layer.corpora:
                layers.setdefault(str(corpus.blob.digest), corpus.to_json())
            for hint in layer.hints():
                layers[f"{hint['digest']} {layer.digest}"] = hint
        if packed := originals.pack(self.original):
            layers[str(packed[0].digest)] = _pointer(packed[0])
        notes = _original_notes(self.original, self.media_type)
        return _manifest(IMAGE_TYPE, list(layers.values()), notes, self.subject)


@dataclass(frozen=True, slots=True)
class IndexRecord(_DocumentRecord):
    """An index some of whose children are image (or index) records."""

    children: tuple[Descriptor, ...]
    """What stands in the upstream for each child, in order: its record, or itself."""
    subject: Descriptor | None = None

    def carrier(self) -> tuple[Descriptor, bytes] | None:
        """The manifest that leads to the original, when that is too large to travel inside the record."""
        packed = originals.pack(self.original)
        if packed is None:
            return None
        descriptor, data = originals.carrier(_pointer(packed[0]), _CONFIG_JSON)
        return replace(descriptor, annotations={_MANIFEST: str(packed[0].digest)}), data

    def to_manifest(self) -> bytes:
        """The index record as manifest bytes."""
        carrier = self.carrier()
        named = [_without_own_notes(child) for child in self.children] + ([carrier[0]] if carrier else [])
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "artifactType": INDEX_TYPE,
            "manifests": [child.to_json() for child in named],
            "annotations": {_VERSION: VERSION, **_original_notes(self.original, self.media_type)},
        }
        if self.subject is not None:
            document["subject"] = self.subject.to_json()
        return _encode(document)


Record = LayerRecord | ImageRecord | IndexRecord


def record_media_type(record: Record) -> str:
    """The media type under which a record is stored."""
    return OCI_INDEX if isinstance(record, IndexRecord) else OCI_MANIFEST


def is_record(data: bytes) -> bool:
    """Whether the bytes are one of our records, of whatever version. Cheap for anything else."""
    if b"application/vnd.reducto." not in data:
        return False
    try:
        kind = json.loads(data).get("artifactType", "")
    except (ValueError, AttributeError, RecursionError):
        return False
    return isinstance(kind, str) and kind.startswith(
        ("application/vnd.reducto.layer.", "application/vnd.reducto.image.", "application/vnd.reducto.index.")
    )


def original_pointer(data: bytes) -> Descriptor | None:
    """What must be read before the record in ``data`` can be parsed: a packed original, or the carrier (a manifest)
    whose own pointer leads there. None when all is inside. Raises `Corrupt`."""
    try:
        document = json.loads(data)
        for item in document.get("layers") or document.get("manifests") or ():
            if _MANIFEST in (item.get("annotations") or {}):
                return replace(descriptor_of(item), annotations={})
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise Corrupt(f"a damaged record: {error}") from error
    return None


def parse_record(data: bytes, original: bytes | None = None) -> Record:
    """The record in ``data``. Raises `NotReducto` for anything else or a newer version, `Corrupt` when damaged.

    ``original`` is what `original_pointer` led to, unpacked.
    """
    try:
        document = json.loads(data)
        kind = document["artifactType"]
        notes = document["annotations"]
        version = notes[_VERSION]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotReducto("this manifest is not a Reducto record") from error
    if version != VERSION or kind not in (LAYER_TYPE, IMAGE_TYPE, INDEX_TYPE):
        raise NotReducto(f"a record of version {version} ({kind}) needs a newer Reducto")
    try:
        if kind == INDEX_TYPE:
            named = (descriptor_of(item) for item in document["manifests"])
            children = tuple(child for child in named if _MANIFEST not in child.annotations)
            return IndexRecord(original or _original(notes), notes[_MANIFEST_TYPE], children, _subject(document))
        layers, stored = _read_layers(document["layers"])
        if kind == IMAGE_TYPE:
            return ImageRecord(original or _original(notes), notes[_MANIFEST_TYPE], layers, stored, _subject(document))
        (layer,) = layers
        created = datetime.fromisoformat(notes[_CREATED]).timestamp() if _CREATED in notes else 0.0
        return replace(layer, receipt=json.loads(notes.get(_RECEIPT, "{}")), created=created)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, UsageError) as error:
        raise Corrupt(f"a damaged record: {error}") from error


def _read_layers(items: list[dict[str, Any]]) -> tuple[tuple[LayerRecord, ...], tuple[Descriptor, ...]]:
    corpora: dict[str, CorpusBlob] = {}
    deltas: dict[str, TokenDeltaBlob] = {}
    layers: list[LayerRecord] = []
    stored: list[Descriptor] = []
    for item in items:
        notes = item.get("annotations") or {}
        if _CORPUS in notes:
            corpora[notes[_CORPUS]] = CorpusBlob.from_json(item)
        elif _DELTA_LAYER in notes:
            deltas[notes[_DELTA_LAYER]] = TokenDeltaBlob.from_json(item)
        elif _LAYER not in notes and _MANIFEST not in notes:
            stored.append(replace(descriptor_of(item), annotations={}))
    for item in items:
        notes = item.get("annotations") or {}
        if _LAYER in notes:
            needs = [name for name in notes[_NEEDS].split(",") if name]
            layers.append(
                LayerRecord(
                    Digest.parse(notes[_LAYER]),
                    int(notes[_LENGTH]),
                    replace(descriptor_of(item), annotations={}),
                    tuple(corpora[name] for name in needs if not name.startswith("base:")),
                    tuple(parse_corpus_id(name[5:]) for name in needs if name.startswith("base:")),
                    envelope=notes.get(_ENVELOPE, ""),
                    token_delta=deltas.get(notes[_LAYER]),
                )
            )
    return tuple(layers), tuple(stored)


def _without_own_notes(child: Descriptor) -> Descriptor:
    """What a pusher wrote into a descriptor must not pass for a word of ours."""
    return replace(child, annotations={k: v for k, v in child.annotations.items() if not k.startswith(_KEY)})


def _pointer(packed: Descriptor) -> dict[str, Any]:
    return replace(packed, annotations={_MANIFEST: str(packed.digest)}).to_json()


def _original_notes(original: bytes, media_type: str) -> dict[str, str]:
    if len(original) > originals.EMBEDDED_LIMIT_BYTES:
        return {_MANIFEST_TYPE: media_type}
    return {_MANIFEST: base64.b64encode(original).decode(), _MANIFEST_TYPE: media_type}


def _original(notes: dict[str, str]) -> bytes:
    return base64.b64decode(notes[_MANIFEST], validate=True)


def _subject(document: dict[str, Any]) -> Descriptor | None:
    item = document.get("subject")
    return descriptor_of(item) if item else None


def _manifest(
    kind: str, layers: list[dict[str, Any]], notes: dict[str, str], subject: Descriptor | None = None
) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": _CONFIG_JSON,
        "layers": layers,
        "annotations": {_VERSION: VERSION, **notes},
    }
    if subject is not None:
        document["subject"] = subject.to_json()
    return _encode(document)


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
