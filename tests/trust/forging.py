"""What somebody can do who writes to the registry's storage: find an object of ours, change it, replace it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reducto.oci.names import RepositoryName, Tag
from reducto.trust.signatures import Signer
from reducto.trust.signed_records import KEY, REPOSITORY, SIGNATURE
from reducto.values import Descriptor, Digest
from sidecar.embedded.image_layout import ImageLayout
from sidecar.records.format import IMAGE_TYPE, INDEX_TYPE, INSTRUCTIONS_TYPE, LAYER_TYPE, PACKED_CORPUS_TYPE

Document = dict[str, Any]
RECORDS = {"layer record": LAYER_TYPE, "image record": IMAGE_TYPE, "index record": INDEX_TYPE}
BLOBS = {"instructions": INSTRUCTIONS_TYPE, "layer corpus": PACKED_CORPUS_TYPE}


@dataclass(frozen=True)
class Stored:
    """One manifest or blob of a repository."""

    repository: str
    digest: Digest
    path: Path
    tag: str = ""

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()


class Forger:
    """Has the registry's storage in its hands, and no key of ours."""

    def __init__(self, root: Path) -> None:
        self.layout = ImageLayout(root)
        self.stranger = Signer.generate()

    def find(self, repository: str, kind: str) -> list[Stored]:
        """All objects of a kind; the same ones first in every run."""
        if kind in RECORDS:
            return [stored for stored, document in self._manifests(repository) if _type(document) == RECORDS[kind]]
        blobs = {
            layer["digest"]: None
            for _, document in self._manifests(repository)
            if _type(document) == LAYER_TYPE
            for layer in document["layers"]
            if layer["mediaType"] == BLOBS[kind]
        }
        return [self._stored(repository, digest) for digest in blobs]

    def overwrite(self, stored: Stored, data: bytes) -> None:
        """Other bytes under the same name, as a broken or hostile disk has them."""
        stored.path.unlink()
        stored.path.write_bytes(data)

    def put_record(self, stored: Stored, data: bytes) -> None:
        """Another manifest under the record's tag: a push past the sidecar."""
        media_type = json.loads(data)["mediaType"]
        manifest = Descriptor(media_type, Digest.of(data), len(data))
        self.layout.put_manifest(RepositoryName(stored.repository), manifest, data, Tag(stored.tag), None, None)

    def put_blob(self, repository: str, data: bytes) -> Document:
        """A new blob; how a descriptor names it."""
        digest = Digest.of(data)
        self._path(repository, digest).write_bytes(data)
        return {"digest": str(digest), "size": len(data)}

    def drop(self, repository: str, kinds: tuple[str, ...]) -> None:
        """Takes away records."""
        for kind in kinds:
            for stored in self.find(repository, kind):
                self.layout.delete_tag(RepositoryName(repository), Tag(stored.tag))

    def copy_blobs(self, source: str, target: str) -> None:
        """Everything that ``source`` holds, for ``target``, too: a mount."""
        for path in (self.layout.root / source / "_oci" / "blobs").glob("*/*"):
            copy = self._path(target, Digest(path.parent.name, path.name))
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                copy.write_bytes(path.read_bytes())

    def _manifests(self, repository: str) -> Iterator[tuple[Stored, Document]]:
        for tag in self.layout.tags(RepositoryName(repository)):
            found = self.layout.resolve(RepositoryName(repository), Tag(tag))
            assert found is not None
            stored = Stored(repository, found.digest, self._path(repository, found.digest), tag)
            yield stored, json.loads(stored.data)

    def _stored(self, repository: str, digest: str) -> Stored:
        parsed = Digest.parse(digest)
        return Stored(repository, parsed, self._path(repository, parsed))

    def _path(self, repository: str, digest: Digest) -> Path:
        return self.layout.root / repository / "_oci" / "blobs" / digest.algorithm / digest.hex


def _type(document: Document) -> str:
    return str(document.get("artifactType", ""))


def unsigned(data: bytes) -> bytes:
    """The record without any trace of a signature."""
    document = json.loads(data)
    for note in (KEY, REPOSITORY, SIGNATURE):
        document["annotations"].pop(note, None)
    return canonical(document)


def canonical(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def edited(data: bytes, edit: Callable[[Document], None]) -> bytes:
    """The record with a change in its content; an old signature stays."""
    document = json.loads(data)
    edit(document)
    return canonical(document)


def other_original(document: Document) -> None:
    """Another image under the record's tag."""
    original = json.loads(base64.b64decode(document["annotations"]["io.reducto.manifest"]))
    original.setdefault("annotations", {})["forged"] = "yes"
    document["annotations"]["io.reducto.manifest"] = base64.b64encode(json.dumps(original).encode()).decode()


def other_length(document: Document) -> None:
    """Another length of the layer."""
    for layer in document["layers"]:
        if "io.reducto.layer.length" in layer["annotations"]:
            layer["annotations"]["io.reducto.layer.length"] = "7"
