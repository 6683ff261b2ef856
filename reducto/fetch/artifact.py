"""Corpora as OCI artifacts: one manifest, for each corpus file a packed blob and its info.

Pushed and pulled by `reducto corpus push|fetch`; the ORAS CLI can copy and pull them, too. docs/formats/corpus.md
says what each annotation means.
"""

from __future__ import annotations

import base64
import json
import mmap
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from reducto.fetch.registry import Registry
from reducto.values import CorpusId, Descriptor, Digest, parse_corpus_id
from reducto.workers import Submit

ARTIFACT_TYPE = "application/vnd.reducto.corpus.v1"
PACKED_TYPE = "application/vnd.reducto.corpus.packed.v1"
INFO_TYPE = "application/vnd.reducto.corpus.info.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
ID_KEY = "io.reducto.corpus.id"
SIGNATURE_KEY = "io.reducto.corpus.signature"
_TITLE_KEY = "org.opencontainers.image.title"
#: More than a corpus file may be split into; bounds what a manifest can make a reader do.
PARTS_LIMIT = 1024

Advance = Callable[[int], None]


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
    def parse(cls, document: dict[str, Any]) -> Self:
        """The artifact that a manifest describes. Raises `NotReducto` for another kind, `Corrupt`."""
        kind = document.get("artifactType") or (document.get("annotations") or {}).get("io.reducto.type")
        if kind != ARTIFACT_TYPE:
            raise NotReducto(f"not a corpus artifact: its type is {kind or 'not given'}")
        layers = document.get("layers")
        if not isinstance(layers, list) or len(layers) % 2 or not 0 < len(layers) <= 2 * PARTS_LIMIT:
            raise Corrupt("corpus artifact: its layers are not pairs of a corpus and its info")
        pairs = zip(layers[::2], layers[1::2], strict=True)
        return cls(tuple(_part(packed, info) for packed, info in pairs))


def _part(packed: Any, info: Any) -> RemotePart:
    try:
        notes = packed["annotations"]
        signature = None
        if SIGNATURE_KEY in notes:
            signature = SignatureBlock.parse(base64.b64decode(notes[SIGNATURE_KEY], validate=True))
        part = RemotePart(
            parse_corpus_id(notes[ID_KEY]),
            Descriptor(packed["mediaType"], Digest.parse(packed["digest"]), int(packed["size"])),
            Descriptor(info["mediaType"], Digest.parse(info["digest"]), int(info["size"])),
            signature,
        )
    except (KeyError, TypeError, ValueError, OverflowError, UsageError) as error:
        raise Corrupt(f"corpus artifact: a layer is described wrongly: {error}") from None
    if part.packed.media_type != PACKED_TYPE or part.info.media_type != INFO_TYPE:
        raise Corrupt("corpus artifact: a layer has the wrong media type")
    if not 0 <= part.info.size <= INFO_LIMIT_BYTES or part.packed.size < 0:
        raise Corrupt("corpus artifact: a layer has an impossible size")
    return part


def push(
    corpora: Sequence[Corpus],
    registry: Registry,
    *,
    level: int,
    spool_dir: Path,
    submit: Submit | None = None,
    advance: Advance = lambda _: None,
) -> Digest:
    """Stores corpora as one artifact under the registry's tag; returns the manifest's digest."""
    layers: list[dict[str, Any]] = []
    for corpus in corpora:
        with tempfile.NamedTemporaryFile(dir=spool_dir, suffix=".rcp") as spool:
            out = cast(BinaryIO, spool.file)
            pack_corpus(corpus, out, level=level, spool_dir=spool_dir, submit=submit, advance=advance)
            spool.flush()
            packed = registry.upload(Path(spool.name), PACKED_TYPE)
        notes = {ID_KEY: str(corpus.id), _TITLE_KEY: f"{corpus.path.stem}.rcp"}
        if corpus.signature is not None:
            notes[SIGNATURE_KEY] = base64.b64encode(corpus.signature.to_bytes()).decode()
        info = registry.upload_bytes(corpus.info.to_bytes(), INFO_TYPE)
        titled = info.to_json() | {"annotations": {_TITLE_KEY: f"{corpus.path.stem}.json"}}
        layers += [packed.to_json() | {"annotations": notes}, titled]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": registry.upload_bytes(EMPTY, EMPTY_TYPE).to_json(),
        "layers": layers,
        # Registries that drop unknown fields keep annotations.
        "annotations": {"io.reducto.type": ARTIFACT_TYPE},
    }
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return registry.put_manifest(content, MANIFEST_TYPE, str(registry.reference.tag))


def fetch_part(
    registry: Registry,
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
    info = CorpusInfo.parse(b"".join(registry.stream(part.info.digest, part.info.size)))
    with _downloaded(registry, part.packed, spool_dir, advance) as packed:
        unpacked = UnpackedCorpus(packed, {}, spool_dir, plain_limit_bytes)
        try:
            if unpacked.id != part.corpus_id:
                raise Corrupt(f"corpus artifact: the blob holds corpus {unpacked.id}, not {part.corpus_id}")
            unpacked.write_corpus(target, info, part.signature)
        finally:
            unpacked.close()


@contextmanager
def _downloaded(registry: Registry, blob: Descriptor, spool_dir: Path, advance: Advance) -> Iterator[memoryview]:
    """The blob's bytes, mapped, while the block runs."""
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        for piece in registry.stream(blob.digest, blob.size):
            file.write(piece)
            advance(len(piece))
        file.flush()
        yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if file.tell() else memoryview(b"")
