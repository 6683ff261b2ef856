"""The fuzzed functions: one for each kind of bytes that comes from a registry, a client or a disk.

A target takes any bytes. It returns, or it fails by an `AssertionError` or another exception that no caller expects.
If a format hashes its own parts, the target also puts the bytes *inside* a file with correct hashes, because an
attacker who writes the whole file computes the hashes as well.
"""

from __future__ import annotations

import contextlib
import functools
import json
import struct
from collections.abc import Callable, Iterator

import zstandard
from blake3 import blake3

from reducto.codec import BlobDecoder
from reducto.codec import instructions as codec_instructions
from reducto.codec.packed import HEADER_BYTES, PackedTable
from reducto.codec.packed import MAGIC as PACKED_MAGIC
from reducto.codec.unpacked import UnpackedCorpus
from reducto.corpus.corpus_format import HASHED_SECTIONS, CorpusHeader, CorpusManifest, Section, SignatureBlock
from reducto.corpus.corpus_format import HEADER_BYTES as PAGE_BYTES
from reducto.corpus.reader import Corpus
from reducto.crypt import BlobKey, Content, Envelope, StreamDecryptor
from reducto.errors import ReductoError
from reducto.fetch.artifact import CorpusArtifact
from reducto.gzip import TokenDelta
from reducto.gzip.token_delta import MAGIC as TOKENS_MAGIC
from reducto.oci import ranges, routes
from reducto.oci.manifest import Manifest as ClientManifest
from reducto.oci.registry_errors import RegistryError
from reducto.trust import audit_chain, signed_records
from reducto.trust.signatures import Signer, TrustStore
from reducto.values import ByteRange, Digest
from sidecar.middleware.rate_limits import path_complaint
from sidecar.records import format as records
from sidecar.records.overflow import EMBEDDED_LIMIT_BYTES
from tests.fuzz import seeds

PLAIN_LIMIT_BYTES = 1 << 20
Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}
TRUST = TrustStore.of(Signer.generate())


def target(function: Target) -> Target:
    TARGETS[function.__name__] = function
    return function


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Suppresses the exceptions that every caller expects."""
    with contextlib.suppress(ReductoError, RegistryError):
        yield


@target
def record(data: bytes) -> None:
    """A manifest from the upstream. If it can be parsed, writing it again gives a manifest with the same meaning."""
    if not records.is_record(data):
        return
    with refused():
        records.overflow_of(data)
        parsed = records.parse_record(data)
        if isinstance(parsed, records.LayerRecord) or len(parsed.original) <= EMBEDDED_LIMIT_BYTES:
            assert records.parse_record(parsed.to_manifest()).to_manifest() == parsed.to_manifest()


@target
def signature(data: bytes) -> None:
    """A manifest without a trusted key's signature is never accepted."""
    with refused():
        signed_records.is_signed(data)
        signed_records.verify(data, "team/app", TRUST)
        raise AssertionError("a forged record verifies")


@target
def audit_log(data: bytes) -> None:
    """A file either breaks the chain or gives a report, which counts no checkpoint of an untrusted key."""
    with contextlib.suppress(audit_chain.AuditBroken):
        report = audit_chain.verify([("log", data.splitlines(keepends=True))], TRUST)
        assert report.checkpoints == 0
        assert report.lines <= data.count(b"\n")


@target
def client_manifest(data: bytes) -> None:
    """A manifest that a client pushes."""
    with refused():
        parsed = ClientManifest.parse(data, "")
        for blob in parsed.blobs:
            json.dumps(parsed.as_referrer(blob.descriptor))


@target
def corpus_artifact(data: bytes) -> None:
    """A manifest that `corpus fetch` downloads."""
    with refused():
        CorpusArtifact.parse(data)


@target
def request(data: bytes) -> None:
    """Path and ranges of a request. A path that can be parsed names nothing outside its repository."""
    path, _, header = data.decode("utf-8", "surrogateescape").partition("\n")
    route = routes.parse(path)
    if not isinstance(route, routes.Other) and not path_complaint(path):
        assert ".." not in route.path.split("/")
    with refused():
        found = ranges.parse_range(header, 1000)
        assert found is None or found.stop <= 1000
    with refused():
        ranges.parse_content_range(header)


@target
def envelope(data: bytes) -> None:
    """The encrypted key in a record."""
    text = data.decode("latin-1")
    with refused():
        assert str(Envelope.parse(text)) == text


@target
def encrypted_blob(data: bytes) -> None:
    """An encrypted blob that was made without the key can be decrypted neither from its beginning nor in its middle."""
    key = BlobKey(b"i" * 16, b"k" * 32)
    for content in Content:
        with refused():
            decryptor = StreamDecryptor(key, content, "subject")
            decryptor.update(data)
            decryptor.finish()
            raise AssertionError("a forged blob opens")
        with refused():
            decryptor = StreamDecryptor(key, content, "subject")
            decryptor.read_header(data)
            wanted = ByteRange(0, 1)
            at = decryptor.encrypted_range(wanted, len(data))
            decryptor.open_range(wanted, data[at.start : at.stop], len(data))
            raise AssertionError("a forged segment opens")


@target
def instructions(data: bytes) -> None:
    """A `.reducto` file, and these bytes as the sections of a `.reducto` file with correct hashes."""
    _rebuild(data)
    with contextlib.suppress(struct.error, IndexError):
        _rebuild(instructions_with_correct_hashes(data))


def instructions_with_correct_hashes(data: bytes) -> bytes:
    """A `.reducto` file with correct hashes. ``data`` holds its sections' kinds and lengths, then their content."""
    count = data[0] % 5
    at, rows, bodies = 1 + 5 * count, [], []
    for number in range(count):
        kind, length = struct.unpack_from("<BI", data, 1 + 5 * number)
        body = data[at : at + length % (len(data) + 1)]
        at += len(body)
        if kind == codec_instructions.SectionKind.OPERATIONS:
            body = body[:24] + zstandard.ZstdCompressor(level=1).compress(body[24:])
        hashed = body[:HEADER_BYTES] if kind == codec_instructions.SectionKind.CORPUS else body
        rows.append(struct.pack("<IIQ32s", kind, 0, len(body), blake3(hashed).digest()))
        bodies.append(body)
    head = struct.pack("<8sHHHH", codec_instructions.MAGIC, codec_instructions.VERSION, 0, count, 0) + b"".join(rows)
    return head + blake3(head).digest() + b"".join(bodies)


def _rebuild(data: bytes) -> None:
    sources = seeds.sources()
    with refused(), contextlib.closing(BlobDecoder(data, sources, seeds.folder())) as decoder:
        if decoder.meta.wire_length > PLAIN_LIMIT_BYTES or decoder.meta.plain_length > PLAIN_LIMIT_BYTES:
            return
        wire = b"".join(decoder.rebuild())
        assert len(wire) == decoder.wire_length
        if decoder.wire_digest is not None:
            assert Digest.of(wire, decoder.wire_digest.algorithm) == decoder.wire_digest


@target
def token_delta(data: bytes) -> None:
    """A token delta, and these bytes as the body of one. If it can be parsed, writing it again means the same."""
    _read_tokens(data)
    body = zstandard.ZstdCompressor(level=1).compress(data)
    _read_tokens(struct.pack("<8sHH32s", TOKENS_MAGIC, 1, 0, blake3(body).digest()) + body)


def _read_tokens(data: bytes) -> None:
    with refused():
        delta = TokenDelta.from_bytes(data)
        assert TokenDelta.from_bytes(delta.to_bytes()) == delta


@target
def packed_corpus(data: bytes) -> None:
    """A packed corpus, and these bytes as the table of one."""
    _unpack(data)
    with contextlib.suppress(struct.error):
        length = struct.unpack_from("<H", data)[0] % len(data)
        table = zstandard.ZstdCompressor(level=1).compress(data[2 : 2 + length])
        head = struct.pack("<8sHHI32s", PACKED_MAGIC, 1, 0, len(table), blake3(table).digest())
        _unpack(head + table + data[2 + length :])


def _unpack(data: bytes) -> None:
    with refused():
        corpus = UnpackedCorpus(memoryview(data), seeds.sources(), seeds.folder(), PLAIN_LIMIT_BYTES)
        with contextlib.closing(corpus):
            assert PackedTable.parse(corpus.table.header())[0] == corpus.table
            corpus.ensure([ByteRange(0, corpus.plain_length)])
            blake3(corpus.plain).digest()


@target
def mapped_corpus(data: bytes) -> None:
    """An `.rc` file, and these bytes as the sections of an `.rc` file with correct hashes."""
    _read(data)
    if len(data) > PAGE_BYTES:
        with refused():
            _read(corpus_with_correct_hashes(data))


def corpus_with_correct_hashes(data: bytes) -> bytes:
    """A corpus with the header and sections of ``data``, and a manifest with their correct hashes."""
    header = CorpusHeader.parse(data)
    body = bytearray(data.ljust(header[Section.MANIFEST].offset, b"\0")[: header[Section.MANIFEST].offset])
    for section, following in zip(Section, list(Section)[1:], strict=False):
        body[header[section].stop : header[following].offset] = bytes(header[following].offset - header[section].stop)

    def hashed(section: Section) -> bytes:
        return bytes(blake3(body[header[section].offset : header[section].stop]).digest())

    plain = header[Section.PLAIN]
    pieces = (bytes(body[at : min(at + (1 << 20), plain.stop)]) for at in range(plain.offset, plain.stop, 1 << 20))
    hashes = b"".join(blake3(piece).digest() for piece in pieces)
    page_hash = blake3(header.to_bytes()).digest()
    manifest = CorpusManifest(plain.length, page_hash, tuple(map(hashed, HASHED_SECTIONS)), hashes)
    return bytes(body) + manifest.to_bytes()


def _read(data: bytes) -> None:
    path = seeds.folder() / "fuzzed.rc"
    path.write_bytes(data)
    with refused(), Corpus.open(path, allow_unsigned=True) as corpus:
        for table in (corpus.index, corpus.hooks):
            entries = list(table)
            for fingerprint, _ in entries[:100]:
                table.find(fingerprint)
            table.find_many([0, (1 << 64) - 1, *(fingerprint for fingerprint, _ in entries[:100])])
        for path_hash, _ in list(corpus.paths)[:100]:
            corpus.paths.find(path_hash)
        list(corpus.anchors())
        corpus.ensure([ByteRange(0, corpus.plain_length)])


@target
def signature_block(data: bytes) -> None:
    """The signature at the end of a signed corpus."""
    with refused():
        assert SignatureBlock.parse(data).to_bytes() == data


@functools.cache
def seed_inputs() -> dict[str, list[bytes]]:
    """Valid inputs of each target, also in the form from which the targets build files with correct hashes."""
    found = seeds.make()
    found["instructions"] += [_taken_apart(data) for data in found["instructions"]]
    for data in list(found["packed_corpus"]):
        end = PackedTable.header_length(data)
        table = zstandard.ZstdDecompressor().decompress(data[HEADER_BYTES:end], max_output_size=1 << 20)
        found["packed_corpus"].append(struct.pack("<H", len(table)) + table + data[end:])
    return found


def _taken_apart(data: bytes) -> bytes:
    rows, at = codec_instructions._parse_rows(memoryview(data))
    head, bodies = bytes([len(rows)]), b""
    for kind, length, _ in rows:
        body = data[at : at + length]
        at += length
        if kind is codec_instructions.SectionKind.OPERATIONS:
            columns = zstandard.ZstdDecompressor().decompress(body[24:], max_output_size=1 << 20)
            body = body[:24] + columns
        head += struct.pack("<BI", kind, len(body))
        bodies += body
    return head + bodies
