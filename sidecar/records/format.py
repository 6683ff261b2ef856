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
from sidecar.records import bounds, overflow

LAYER_TYPE = "application/vnd.reducto.layer.v1"
IMAGE_TYPE = "application/vnd.reducto.image.v1"
INDEX_TYPE = "application/vnd.reducto.index.v1"
INSTRUCTIONS_TYPE = "application/vnd.reducto.instructions.v1"
PACKED_CORPUS_TYPE = "application/vnd.reducto.corpus.layer.v1+zstd"
TOKEN_DELTA_TYPE = "application/vnd.reducto.token-delta.v1"  # noqa: S105 (of deflate)

#: The config blob of every record. It is not the usual ``{}``, because clients push and delete that blob, too.
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
    """The blob that holds a layer corpus in packed form. The corpus keeps its identity when it is packed again."""

    corpus_id: CorpusId
    blob: Descriptor
    plain_length: int
    parents: tuple[CorpusId, ...] = ()
    """Corpora whose bytes the packed frames were compressed against."""
    hooks: bytes = b""
    """A sample of the corpus's hooks, eight bytes each, little-endian, ascending. The hook index finds it by them."""
    envelope: str = ""
    """The blob's wrapped key if the blob is encrypted, else empty (`reducto.crypt.Envelope`)."""

    def to_json(self) -> dict[str, Any]:
        """The blob's descriptor, annotated with what a reader must know before it fetches the blob."""
        annotations = {_CORPUS: str(self.corpus_id), _PLAIN: str(self.plain_length)}
        if self.parents:
            annotations[_PARENTS] = ",".join(self.parents)
        if self.hooks:
            annotations[_HOOKS] = base64.b64encode(self.hooks).decode()
        if self.envelope:
            annotations[_ENVELOPE] = self.envelope
        return replace(self.blob, annotations=annotations).to_json()

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """The corpus blob that `to_json` wrote. Raises `KeyError`, `TypeError`, `ValueError` or `UsageError`."""
        annotations = item["annotations"]
        return cls(
            parse_corpus_id(annotations[_CORPUS]),
            replace(descriptor_of(item), annotations={}),
            bounds.length_in(annotations[_PLAIN]),
            bounds.corpus_ids_in(annotations.get(_PARENTS, "")),
            bounds.hooks_in(annotations.get(_HOOKS, "")),
            bounds.envelope_in(annotations.get(_ENVELOPE, "")),
        )


@dataclass(frozen=True, slots=True)
class TokenDeltaBlob:
    """The blob that lists which deflate tokens of an older layer a newer layer keeps.

    It is a hint: the layer can be rebuilt without it, only more slowly.
    """

    older: Digest
    blob: Descriptor
    envelope: str = ""
    """The blob's wrapped key if the blob is encrypted, else empty (`reducto.crypt.Envelope`)."""

    def to_json(self, layer: Digest) -> dict[str, Any]:
        """The blob's descriptor for the record of ``layer``, annotated with the digests of both layers."""
        annotations = {_DELTA_LAYER: str(layer), _DELTA_OLDER: str(self.older)}
        if self.envelope:
            annotations[_ENVELOPE] = self.envelope
        return replace(self.blob, annotations=annotations).to_json()

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """The token delta blob that `to_json` wrote. Raises the same errors as `CorpusBlob.from_json`."""
        annotations = item["annotations"]
        blob = replace(descriptor_of(item), annotations={})
        return cls(Digest.parse(annotations[_DELTA_OLDER]), blob, bounds.envelope_in(annotations.get(_ENVELOPE, "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """Says how one layer is rebuilt."""

    digest: Digest
    wire_length: int
    instructions: Descriptor
    corpora: tuple[CorpusBlob, ...]
    """All layer corpora that the rebuild needs. Each corpus stands behind its parents."""
    bases: tuple[CorpusId, ...] = ()
    """Base corpora that the rebuild needs, by identity alone, because they lie in a repository of their own."""
    receipt: dict[str, Any] = field(default_factory=dict, compare=False)
    envelope: str = ""
    """The wrapped key of the instructions if they are encrypted, else empty (`reducto.crypt.Envelope`)."""
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
        """The instructions' descriptor, annotated with what they rebuild and from which corpora."""
        needs = [str(corpus.corpus_id) for corpus in self.corpora] + [f"base:{name}" for name in self.bases]
        annotations = {_LAYER: str(self.digest), _LENGTH: str(self.wire_length), _NEEDS: ",".join(needs)}
        if self.envelope:
            annotations[_ENVELOPE] = self.envelope
        return replace(self.instructions, annotations=annotations).to_json()

    def hints(self) -> list[dict[str, Any]]:
        """Descriptors of blobs that make the rebuild faster and that it does not need."""
        return [self.token_delta.to_json(self.digest)] if self.token_delta is not None else []

    def rebuilds(self, digest: Digest) -> bool:
        """Whether this is the layer's digest."""
        return self.digest == digest

    @property
    def needed_blobs(self) -> list[Descriptor]:
        """The blobs that the rebuild reads from the record's repository."""
        return [self.instructions, *(corpus.blob for corpus in self.corpora)]

    @property
    def rebuild_id(self) -> str:
        """An identifier that two records share if they rebuild the layer in the same way from the same blobs."""
        described = [self.descriptor(), *(corpus.to_json() for corpus in self.corpora)]
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def rewrapped(self, rewrap: Callable[[str], str]) -> LayerRecord:
        """The same record with each envelope replaced by ``rewrap(envelope)``, as another repository or key needs."""
        corpora = tuple(replace(corpus, envelope=rewrap(corpus.envelope)) for corpus in self.corpora)
        delta = self.token_delta and replace(self.token_delta, envelope=rewrap(self.token_delta.envelope))
        return replace(self, envelope=rewrap(self.envelope), corpora=corpora, token_delta=delta)


@dataclass(frozen=True, slots=True)
class _DocumentRecord:
    """A record that stands for a manifest or an index and carries that document's exact bytes."""

    original: bytes
    media_type: str

    @property
    def digest(self) -> Digest:
        """The original document's sha256."""
        return Digest.of(self.original)

    def rebuilds(self, digest: Digest) -> bool:
        """Whether ``digest`` is the digest of the original document, by the algorithm that ``digest`` names."""
        return Digest.of(self.original, digest.algorithm) == digest


@dataclass(frozen=True, slots=True)
class ImageRecord(_DocumentRecord):
    """Stands for an image manifest of which at least one blob is stored reduced."""

    layers: tuple[LayerRecord, ...]
    """The records of the image's reduced layers."""
    stored: tuple[Descriptor, ...]
    """The image's other blobs, which are stored as they came."""
    subject: Descriptor | None = None

    def to_manifest(self) -> bytes:
        """The image record as manifest bytes. The same image and layer records always give the same bytes."""
        layers: dict[str, dict[str, Any]] = {}
        for stored in self.stored:
            layers[str(stored.digest)] = {**stored.to_json(), "annotations": {_STORED: "true"}}
        for layer in self.layers:
            layers[f"{layer.instructions.digest} {layer.digest}"] = layer.descriptor()
            for corpus in layer.corpora:
                layers.setdefault(str(corpus.blob.digest), corpus.to_json())
            for hint in layer.hints():
                layers[f"{hint['digest']} {layer.digest}"] = hint
        if packed := overflow.pack(self.original):
            layers[str(packed[0].digest)] = _overflow_descriptor(packed[0])
        annotations = _original_annotations(self.original, self.media_type)
        return _manifest(IMAGE_TYPE, list(layers.values()), annotations, self.subject)


@dataclass(frozen=True, slots=True)
class IndexRecord(_DocumentRecord):
    """Stands for an index of which at least one child is stored as a record."""

    children: tuple[Descriptor, ...]
    """For each child, in order, the manifest in the upstream: the child's record, or the child itself."""
    subject: Descriptor | None = None

    def overflow_manifest(self) -> tuple[Descriptor, bytes] | None:
        """The manifest that names the overflow blob, and its descriptor; None when the record has its original
        inside."""
        packed = overflow.pack(self.original)
        if packed is None:
            return None
        descriptor, data = overflow.manifest_for(_overflow_descriptor(packed[0]), _CONFIG_JSON)
        return replace(descriptor, annotations={_MANIFEST: str(packed[0].digest)}), data

    def to_manifest(self) -> bytes:
        """The index record as manifest bytes."""
        extra = self.overflow_manifest()
        named = [_without_own_annotations(child) for child in self.children] + ([extra[0]] if extra else [])
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "artifactType": INDEX_TYPE,
            "manifests": [child.to_json() for child in named],
            "annotations": {_VERSION: VERSION, **_original_annotations(self.original, self.media_type)},
        }
        if self.subject is not None:
            document["subject"] = self.subject.to_json()
        return _encode(document)


Record = LayerRecord | ImageRecord | IndexRecord


def record_media_type(record: Record) -> str:
    """The media type under which a record is stored."""
    return OCI_INDEX if isinstance(record, IndexRecord) else OCI_MANIFEST


def is_record(data: bytes) -> bool:
    """Whether the bytes are a record of Reducto, in any version of the format.

    Most other bytes are not parsed, so that the check costs only one search through them.
    """
    if b"application/vnd.reducto." not in data:
        return False
    try:
        kind = json.loads(data).get("artifactType", "")
    except (ValueError, AttributeError, RecursionError):
        return False
    return isinstance(kind, str) and kind.startswith(
        ("application/vnd.reducto.layer.", "application/vnd.reducto.image.", "application/vnd.reducto.index.")
    )


def overflow_of(data: bytes) -> Descriptor | None:
    """The overflow blob, or the overflow manifest, that must be read before the record in ``data`` can be parsed.

    For an overflow manifest the result is the blob that it names. None when the record has its original inside.
    Raises `Corrupt`.
    """
    try:
        document = json.loads(data)
        for item in bounds.descriptors_in(document.get("layers") or document.get("manifests") or []):
            if _MANIFEST in (item.get("annotations") or {}):
                return replace(descriptor_of(item), annotations={})
    except (ValueError, KeyError, TypeError, AttributeError, UsageError, RecursionError) as error:
        raise Corrupt(f"a damaged record: {error}") from error
    return None


def parse_record(data: bytes, original: bytes | None = None) -> Record:
    """The record in ``data``. Raises `NotReducto` for other bytes or a newer version, `Corrupt` for a damaged record.

    ``original`` is the document in the record's overflow blob, unpacked, if `overflow_of` gives one.
    """
    try:
        document = json.loads(data)
        kind = document["artifactType"]
        annotations = document["annotations"]
        version = annotations[_VERSION]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotReducto("this manifest is not a Reducto record") from error
    if version != VERSION or kind not in (LAYER_TYPE, IMAGE_TYPE, INDEX_TYPE):
        raise NotReducto(f"a record of version {version} ({kind}) needs a newer Reducto")
    try:
        if kind == INDEX_TYPE:
            named = (descriptor_of(item) for item in bounds.descriptors_in(document["manifests"]))
            children = tuple(child for child in named if _MANIFEST not in child.annotations)
            return IndexRecord(
                original or _original(annotations), annotations[_MANIFEST_TYPE], children, _subject(document)
            )
        layers, stored = _read_layers(bounds.descriptors_in(document["layers"]))
        if kind == IMAGE_TYPE:
            return ImageRecord(
                original or _original(annotations), annotations[_MANIFEST_TYPE], layers, stored, _subject(document)
            )
        (layer,) = layers
        created = datetime.fromisoformat(annotations[_CREATED]).timestamp() if _CREATED in annotations else 0.0
        return replace(layer, receipt=bounds.receipt_in(annotations.get(_RECEIPT, "{}")), created=created)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, UsageError, RecursionError) as error:
        raise Corrupt(f"a damaged record: {error}") from error


def _read_layers(items: list[dict[str, Any]]) -> tuple[tuple[LayerRecord, ...], tuple[Descriptor, ...]]:
    corpora: dict[str, CorpusBlob] = {}
    deltas: dict[str, TokenDeltaBlob] = {}
    layers: list[LayerRecord] = []
    stored: list[Descriptor] = []
    for item in items:
        annotations = item.get("annotations") or {}
        if _CORPUS in annotations:
            corpora[annotations[_CORPUS]] = CorpusBlob.from_json(item)
        elif _DELTA_LAYER in annotations:
            deltas[annotations[_DELTA_LAYER]] = TokenDeltaBlob.from_json(item)
        elif _LAYER not in annotations and _MANIFEST not in annotations:
            stored.append(replace(descriptor_of(item), annotations={}))
    for item in items:
        annotations = item.get("annotations") or {}
        if _LAYER in annotations:
            needs = bounds.names_in(annotations[_NEEDS])
            layers.append(
                LayerRecord(
                    digest=Digest.parse(annotations[_LAYER]),
                    wire_length=bounds.length_in(annotations[_LENGTH]),
                    instructions=replace(descriptor_of(item), annotations={}),
                    corpora=tuple(corpora[name] for name in needs if not name.startswith("base:")),
                    bases=tuple(parse_corpus_id(name[5:]) for name in needs if name.startswith("base:")),
                    envelope=bounds.envelope_in(annotations.get(_ENVELOPE, "")),
                    token_delta=deltas.get(annotations[_LAYER]),
                )
            )
    bounds.check_references([len(layer.corpora) for layer in layers])
    return tuple(layers), tuple(stored)


def _without_own_annotations(child: Descriptor) -> Descriptor:
    """The child without annotations of Reducto's own names, because a client may have written those."""
    return replace(child, annotations={k: v for k, v in child.annotations.items() if not k.startswith(_KEY)})


def _overflow_descriptor(packed: Descriptor) -> dict[str, Any]:
    return replace(packed, annotations={_MANIFEST: str(packed.digest)}).to_json()


def _original_annotations(original: bytes, media_type: str) -> dict[str, str]:
    if len(original) > overflow.EMBEDDED_LIMIT_BYTES:
        return {_MANIFEST_TYPE: media_type}
    return {_MANIFEST: base64.b64encode(original).decode(), _MANIFEST_TYPE: media_type}


def _original(annotations: dict[str, str]) -> bytes:
    return base64.b64decode(annotations[_MANIFEST], validate=True)


def _subject(document: dict[str, Any]) -> Descriptor | None:
    item = document.get("subject")
    return descriptor_of(item) if item else None


def _manifest(
    kind: str, layers: list[dict[str, Any]], annotations: dict[str, str], subject: Descriptor | None = None
) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": _CONFIG_JSON,
        "layers": layers,
        "annotations": {_VERSION: VERSION, **annotations},
    }
    if subject is not None:
        document["subject"] = subject.to_json()
    return _encode(document)


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
