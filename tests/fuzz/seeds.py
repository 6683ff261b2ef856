"""Valid inputs for the targets, made by the real writers, and the corpora that fuzzed instructions may refer to."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import zstandard

from reducto.corpus.reader import Corpus
from reducto.crypt import BlobKey, Content, Envelope, StreamEncryptor
from reducto.fetch import artifact
from reducto.gzip import TokenDelta
from reducto.kernel.matching import AlignedRange
from reducto.trust import audit_chain, signed_records
from reducto.trust.signatures import Signer
from reducto.values import CorpusId, Descriptor, Digest
from sidecar.records.format import CONFIG_DESCRIPTOR, CorpusBlob, ImageRecord, IndexRecord, LayerRecord, TokenDeltaBlob
from tests.codec.samples import EAGER, encode, make_corpus, make_tar, words
from tests.corpus.samples import SIGNER, write_small

UNTRUSTED_SIGNER = Signer.generate()
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@functools.cache
def folder() -> Path:
    """A folder for temporary files, which is deleted when the process ends."""
    path = Path(tempfile.mkdtemp(prefix="reducto-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def corpora() -> tuple[Corpus, ...]:
    """The corpora that fuzzed instructions can copy from."""
    return (
        make_corpus(folder() / "one.rc", words(20_000, 1), b"a dictionary" * 20),
        make_corpus(folder() / "two.rc", make_tar({f"etc/file-{n}": words(900, n) for n in range(9)})),
    )


def sources() -> Mapping[CorpusId, Corpus]:
    """Those corpora by identity."""
    return {corpus.id: corpus for corpus in corpora()}


#: Inputs that fuzzing found and that once failed.
FOUND = {
    "client_manifest": [b'{"schemaVersion":2,"mediaType":{"t":1}}'],
    "corpus_artifact": [b'{"artifactType":"application/vnd.reducto.corpus.v1","layers":[{"size":1e999},{}]}'],
}


def make() -> dict[str, list[bytes]]:
    """Valid inputs by target, and the inputs that once failed."""
    inputs = _valid()
    for name, found in FOUND.items():
        inputs[name] += found
    return inputs


def _valid() -> dict[str, list[bytes]]:
    reduced = _reduced()
    return {
        "record": _records(),
        "signature": [signed_records.sign(data, "team/app", UNTRUSTED_SIGNER) for data in _records()],
        "audit_log": [_audit_log()],
        "client_manifest": [_image_manifest(), json.dumps(_index()).encode()],
        "corpus_artifact": [json.dumps(_artifact()).encode()],
        "request": [
            b"/v2/team/app/blobs/sha256:" + b"0" * 64 + b"\nbytes=5-99",
            b"/v2/team/app/manifests/v1\n0-1023",
            b"/v2/a/b/blobs/uploads/" + b"f" * 32 + b"\nbytes 0-1023/*",
        ],
        "envelope": [str(_envelope()).encode()],
        "encrypted_blob": [_encrypted(Content.INSTRUCTIONS, 100), _encrypted(Content.CORPUS, 9000)],
        "instructions": reduced,
        "token_delta": _token_delta(),
        "packed_corpus": _packed(),
        "mapped_corpus": [_small_corpus()],
        "signature_block": [_small_corpus()[-200:]],
    }


def _token_delta() -> list[bytes]:
    """A complete token delta, and the body of one."""
    ranges = [AlignedRange(0, 30, 5000), AlignedRange(6000, 5030, 900)]
    complete = TokenDelta(4000, 3000, ranges, [b"\x28\x09\x00\x07\x05", b"", b"\x06"]).to_bytes()
    return [complete, zstandard.ZstdDecompressor().decompress(complete[44:])]


def _reduced() -> list[bytes]:
    one, two = corpora()
    changed = bytearray(words(20_000, 1))
    changed[9000:9000] = b"something that is new in the middle" * 9
    changed[::700] = b"!" * len(changed[::700])
    tar = make_tar({f"etc/file-{n}": words(900, n) + b"new\n" * (n % 3) for n in range(9)})
    made = [encode(bytes(changed), [one], folder(), EAGER), encode(tar + words(3000, 1), [two, one], folder(), EAGER)]
    return [data for data in made if isinstance(data, bytes)]


def _packed() -> list[bytes]:
    from reducto.codec.instructions import Instructions

    found = [Instructions.parse(data).packed for data in _reduced()]
    return [bytes(packed) for packed in found if packed is not None]


def _small_corpus() -> bytes:
    path = folder() / "small.rc"
    if not path.exists():
        write_small(path, signer=SIGNER, plain=words(6000, 5))
    return path.read_bytes()


def _descriptor(name: str, media_type: str = "application/octet-stream") -> Descriptor:
    return Descriptor(media_type, Digest.of(name.encode()), len(name))


def _records() -> list[bytes]:
    corpus = CorpusBlob(CorpusId("a" * 64), _descriptor("corpus"), 1000, (CorpusId("b" * 64),), bytes(16), "v1.x")
    parent = CorpusBlob(CorpusId("b" * 64), _descriptor("parent"), 2000)
    layer = LayerRecord(
        digest=Digest.of(b"layer"),
        wire_length=5,
        instructions=_descriptor("instructions"),
        corpora=(parent, corpus),
        bases=(CorpusId("c" * 64),),
        receipt={"ratio": 0.5},
        envelope="v1.y",
        created=1_700_000_000.125,
        token_delta=TokenDeltaBlob(Digest.of(b"older"), _descriptor("tokens"), "v1.z"),
    )
    image = ImageRecord(_image_manifest(), MANIFEST_TYPE, (layer,), (_descriptor("config"),), _descriptor("subject"))
    index = IndexRecord(json.dumps(_index()).encode(), _index()["mediaType"], (_descriptor("child", MANIFEST_TYPE),))
    return [one.to_manifest() for one in (layer, image, index)]


def _image_manifest() -> bytes:
    layers = [_descriptor("layer").to_json() | {"annotations": {"key": "value"}}]
    document = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": CONFIG_DESCRIPTOR.to_json(), "layers": layers}
    document |= {"subject": _descriptor("subject").to_json(), "artifactType": "text/x", "annotations": {"a": "b"}}
    return json.dumps(document).encode()


def _index() -> dict[str, object]:
    children = [_descriptor("child", MANIFEST_TYPE).to_json()]
    return {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": children}


def _artifact() -> dict[str, object]:
    packed = _descriptor("packed", artifact.PACKED_TYPE).to_json() | {"annotations": {artifact.ID_KEY: "a" * 64}}
    layers = [packed, _descriptor("info", artifact.INFO_TYPE).to_json()]
    return {"artifactType": artifact.ARTIFACT_TYPE, "layers": layers, "annotations": {}}


def _audit_log() -> bytes:
    head, lines = audit_chain.Head(), []
    for kind in ("event", "lost", "event"):
        line, head = audit_chain.write_line(
            head, kind, {"action": "pull-blob", "status": 200}, "2026-11-22T10:37:00.123Z"
        )
        lines.append(line)
    line, head = audit_chain.recovered(head, b"torn")
    lines += [b"torn", line, audit_chain.checkpoint(head, UNTRUSTED_SIGNER, "2026-11-22T10:37:00.123Z")[0]]
    return b"\n".join(lines) + b"\n"


def _envelope() -> Envelope:
    return Envelope(b"k" * 16, b"b" * 16, bytes(40))


def _encrypted(content: Content, length: int) -> bytes:
    encryptor = StreamEncryptor(BlobKey(b"i" * 16, b"k" * 32), content, "another subject", 12)
    return encryptor.update(bytes(length)) + encryptor.finish()
