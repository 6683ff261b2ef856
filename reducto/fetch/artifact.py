"""Corpora as OCI artifacts: one manifest, for each corpus file a packed blob and its info.

Pushed and pulled by `reducto corpus push|fetch`; the ORAS CLI can copy and pull them, too. docs/formats/corpus.md
says what each annotation means.
"""

from __future__ import annotations

import base64
import json
import mmap
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from reducto.codec.pack import pack_corpus
from reducto.codec.unpacked import UnpackedCorpus
from reducto.corpus.corpus_format import SignatureBlock
from reducto.corpus.info import INFO_LIMIT_BYTES, CorpusInfo
from reducto.corpus.reader import Corpus
from reducto.errors import Corrupt, NotReducto, UsageError
from reducto.fetch.blocking import Advance, BlockingRepository
from reducto.oci.manifest import OCI_MANIFEST, Manifest
from reducto.oci.registry_errors import ManifestInvalid
from reducto.values import CorpusId, Descriptor, Digest, parse_corpus_id
from reducto.workers import Submit

ARTIFACT_TYPE = "application/vnd.reducto.corpus.v1"
PACKED_TYPE = "application/vnd.reducto.corpus.packed.v1"
INFO_TYPE = "application/vnd.reducto.corpus.info.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
ID_KEY = "io.reducto.corpus.id"
SIGNATURE_KEY = "io.reducto.corpus.signature"
_TYPE_KEY = "io.reducto.type"
_TITLE_KEY = "org.opencontainers.image.title"
#: More than a corpus file may be split into; bounds what a manifest can make a reader do.
PARTS_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class RemotePart:
    """One corpus file of an artifact."""

    corpus_id: CorpusId
    packed: Descriptor
    info: Descriptor
    signature: SignatureBlock | None


@dataclass(frozen=True, slots=True)
class CorpusArtifact:
    """What a corpus artifact's manifest says."""

    parts: tuple[RemotePart, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The artifact that a manifest describes. Raises `NotReducto` for another kind, `Corrupt`."""
        try:
            manifest = Manifest.parse(data, "")
        except ManifestInvalid as error:
            raise Corrupt(f"corpus artifact: {error}") from None
        if ARTIFACT_TYPE not in (manifest.artifact_type, manifest.annotations.get(_TYPE_KEY)):
            raise NotReducto(f"not a corpus artifact: its type is {manifest.artifact_type or 'not given'}")
        layers = [layer.descriptor for layer in manifest.layers]
        if len(layers) % 2 or not 0 < len(layers) <= 2 * PARTS_LIMIT:
            raise Corrupt("corpus artifact: its layers are not pairs of a corpus and its info")
        return cls(tuple(_part(packed, info) for packed, info in zip(layers[::2], layers[1::2], strict=True)))


def _part(packed: Descriptor, info: Descriptor) -> RemotePart:
    if packed.media_type != PACKED_TYPE or info.media_type != INFO_TYPE:
        raise Corrupt("corpus artifact: a layer has the wrong media type")
    if info.size > INFO_LIMIT_BYTES:
        raise Corrupt("corpus artifact: a layer has an impossible size")
    signature = packed.annotations.get(SIGNATURE_KEY)
    try:
        return RemotePart(
            parse_corpus_id(packed.annotations[ID_KEY]),
            packed,
            info,
            SignatureBlock.parse(base64.b64decode(signature, validate=True)) if signature is not None else None,
        )
    except (KeyError, ValueError, UsageError) as error:
        raise Corrupt(f"corpus artifact: a layer is described wrongly: {error}") from None


def push(
    corpora: Sequence[Corpus],
    repository: BlockingRepository,
    *,
    level: int,
    spool_dir: Path,
    submit: Submit | None = None,
    advance: Advance = lambda _: None,
) -> Digest:
    """Stores corpora as one artifact under the tag of the repository's address; returns the manifest's digest."""
    tag = repository.address.tag
    if tag is None:
        raise UsageError(f"{repository.address} names a digest; a corpus is pushed under a tag")
    layers: list[dict[str, Any]] = []
    for corpus in corpora:
        with tempfile.NamedTemporaryFile(dir=spool_dir, suffix=".rcp") as spool:
            out = cast(BinaryIO, spool.file)
            pack_corpus(corpus, out, level=level, spool_dir=spool_dir, submit=submit, advance=advance)
            spool.flush()
            packed = repository.upload(Path(spool.name), PACKED_TYPE)
        notes = {ID_KEY: str(corpus.id), _TITLE_KEY: f"{corpus.path.stem}.rcp"}
        if corpus.signature is not None:
            notes[SIGNATURE_KEY] = base64.b64encode(corpus.signature.to_bytes()).decode()
        info = repository.upload_bytes(corpus.info.to_bytes(), INFO_TYPE)
        titled = info.to_json() | {"annotations": {_TITLE_KEY: f"{corpus.path.stem}.json"}}
        layers += [packed.to_json() | {"annotations": notes}, titled]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": repository.upload_bytes(EMPTY, EMPTY_TYPE).to_json(),
        "layers": layers,
        # Registries that drop unknown fields keep annotations.
        "annotations": {_TYPE_KEY: ARTIFACT_TYPE},
    }
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return repository.put_manifest(content, OCI_MANIFEST, tag)


def fetch_part(
    repository: BlockingRepository,
    part: RemotePart,
    target: Path,
    *,
    spool_dir: Path,
    plain_limit_bytes: int,
    advance: Advance = lambda _: None,
) -> None:
    """Puts one corpus file at ``target``: downloaded, unpacked, its tables made anew, its identity checked.

    Raises `Corrupt` if anything is not what the manifest says, `LimitExceeded` for a larger corpus. The signature
    is checked by who opens the file.
    """
    info = CorpusInfo.parse(repository.read_blob(part.info, INFO_LIMIT_BYTES))
    with _downloaded(repository, part.packed, spool_dir, advance) as packed:
        unpacked = UnpackedCorpus(packed, {}, spool_dir, plain_limit_bytes)
        try:
            if unpacked.id != part.corpus_id:
                raise Corrupt(f"corpus artifact: the blob holds corpus {unpacked.id}, not {part.corpus_id}")
            unpacked.write_corpus(target, info, part.signature)
        finally:
            unpacked.close()


@contextmanager
def _downloaded(
    repository: BlockingRepository, blob: Descriptor, spool_dir: Path, advance: Advance
) -> Iterator[memoryview]:
    """The blob's bytes, mapped, while the block runs."""
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        repository.copy_blob(blob, cast(BinaryIO, file), advance)
        yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if file.tell() else memoryview(b"")
