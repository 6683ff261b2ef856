"""What a pushed manifest says, for those parts that anybody but its reader needs to know."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from reducto.errors import UsageError
from reducto.oci.registry_errors import ManifestInvalid
from reducto.values import Descriptor, Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ARTIFACT_MANIFEST = "application/vnd.oci.artifact.manifest.v1+json"

#: What the sidecar accepts from an upstream, beside what its client does.
ACCEPTED = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, ARTIFACT_MANIFEST)
_KNOWN = frozenset(ACCEPTED)
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_ANY_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}(?![0-9a-f])|sha512:[0-9a-f]{128}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class BlobReference:
    """A blob that a manifest names. A foreign one lies elsewhere (``urls``, non-distributable layers)."""

    descriptor: Descriptor
    foreign: bool

    @property
    def digest(self) -> Digest:
        return self.descriptor.digest


@dataclass(frozen=True, slots=True)
class Platform:
    """What an index says a child manifest is made for."""

    os: str
    architecture: str
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image manifest, an index, or an artifact manifest."""

    media_type: str
    blobs: tuple[BlobReference, ...]
    """Every blob that is named: the config of an image comes first, then its layers."""
    layers: tuple[BlobReference, ...]
    """The layers of an image, which are among `blobs`."""
    children: tuple[Descriptor, ...]
    platforms: tuple[Platform | None, ...]
    """The platform of each child, where the index names one."""
    subject_descriptor: Descriptor | None
    artifact_type: str
    annotations: dict[str, str]

    @property
    def subject(self) -> Digest | None:
        """The manifest that this one refers to."""
        return self.subject_descriptor.digest if self.subject_descriptor else None

    @property
    def is_index(self) -> bool:
        """Whether it names manifests rather than blobs."""
        return self.media_type in _INDEXES

    @classmethod
    def parse(cls, data: bytes, content_type: str) -> Self:
        """The manifest in ``data``, sent as ``content_type``. Raises `ManifestInvalid`, for schema 1 too."""
        document = _object(data)
        media_type = content_type.partition(";")[0].strip() or document.get("mediaType") or ""
        if not isinstance(media_type, str):
            raise ManifestInvalid("the manifest's mediaType is not text")
        if document.get("schemaVersion") != 2 or (media_type and media_type not in _KNOWN):
            raise ManifestInvalid(f"a manifest of schema 2 is needed, not {media_type or 'this'}")
        if not media_type:
            media_type = OCI_INDEX if "manifests" in document else OCI_MANIFEST
        if document.get("mediaType", media_type) != media_type:
            raise ManifestInvalid(f"the manifest says it is {document['mediaType']}, the request {media_type}")
        try:
            return cls._from_document(document, media_type)
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise ManifestInvalid(f"the manifest is malformed: {error}") from error

    @classmethod
    def _from_document(cls, document: dict[str, Any], media_type: str) -> Self:
        index = media_type in _INDEXES
        layers = () if index else _blobs(document.get("layers", ()))
        others = () if index else _blobs(document.get("blobs", ()))
        children = tuple(document.get("manifests") or ()) if index else ()
        if media_type in (OCI_MANIFEST, DOCKER_MANIFEST) and document.get("config") is None:
            raise ValueError("config is missing")
        subject = document.get("subject")
        config = document.get("config") or {}
        return cls(
            media_type=media_type,
            blobs=(*(() if index else _blobs([document.get("config")])), *layers, *others),
            layers=layers,
            children=tuple(map(descriptor_of, children)),
            platforms=tuple(map(_platform, children)),
            subject_descriptor=descriptor_of(subject) if subject else None,
            artifact_type=document.get("artifactType") or config.get("mediaType", ""),
            annotations=dict(document.get("annotations") or {}),
        )

    def as_referrer(self, descriptor: Descriptor) -> dict[str, Any]:
        """This manifest's entry in the referrers list of its subject (distribution-spec, "Listing Referrers")."""
        entry = descriptor.to_json()
        if self.artifact_type:
            entry["artifactType"] = self.artifact_type
        if self.annotations:
            entry["annotations"] = self.annotations
        return entry


def digests_in(data: bytes) -> set[Digest]:
    """Every sha256 and sha512 digest that a manifest spells anywhere, whatever its format and media type.

    Whoever decides what may be deleted asks this rather than a parser: a manifest of an unknown kind names blobs, too.
    """
    texts = [data]
    with contextlib.suppress(ValueError, RecursionError):
        # A JSON string may spell a digest with escapes; written anew it has none.
        texts.append(json.dumps(json.loads(data), ensure_ascii=False).encode(errors="surrogatepass"))
    return {Digest.parse(found.decode()) for text in texts for found in _ANY_DIGEST.findall(text)}


def descriptor_of(item: dict[str, Any]) -> Descriptor:
    """A descriptor from JSON. Raises `KeyError`, `TypeError`, `ValueError` or `UsageError`."""
    size = item["size"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise ValueError("size is not a length in bytes")
    annotations = item.get("annotations") or {}
    if not all(isinstance(value, str) for value in annotations.values()):
        raise ValueError("an annotation is not text")
    return Descriptor(str(item.get("mediaType", "")), Digest.parse(item["digest"]), size, dict(annotations))


def _blobs(items: Iterable[Any]) -> tuple[BlobReference, ...]:
    return tuple(_blob(item) for item in items if item is not None)


def _blob(item: dict[str, Any]) -> BlobReference:
    media_type = item.get("mediaType", "")
    foreign = bool(item.get("urls")) or "nondistributable" in media_type or "foreign" in media_type
    return BlobReference(descriptor_of(item), foreign)


def _platform(item: dict[str, Any]) -> Platform | None:
    platform = item.get("platform")
    if not isinstance(platform, dict):
        return None
    return Platform(*(str(platform.get(key, "")) for key in ("os", "architecture", "variant")))


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid("the manifest is not JSON") from error
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document
