"""The `.reducto` format: what turns plain bytes of corpora into one blob.

::

    magic (8) | u16 version | u16 flags | u16 section count | u16 zero
    section count x ( u32 kind | u32 zero | u64 length | BLAKE3 of the section (32) )
    BLAKE3 of everything above (32)
    sections in the order of the table

An embedded packed corpus (kind 4) is the last section. It verifies itself, so its hash here is that of its header.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import zstandard
from blake3 import blake3

from reducto import bounded
from reducto.codec.packed import HEADER_BYTES
from reducto.errors import Corrupt, LimitExceeded, NotReducto, UsageError
from reducto.kernel.matching import OPERATIONS_LIMIT, REFERENCES_LIMIT, Operations
from reducto.values import CorpusId, Digest, parse_corpus_id

#: The longest instructions, embedded corpus excepted: a reader takes them into memory at once.
INSTRUCTIONS_LIMIT_BYTES = 256 << 20
MAGIC = b"\x89RDI\r\n\x1a\n"
VERSION = 1
_HEAD = struct.Struct("<8sHHHH")
_SECTION = struct.Struct("<IIQ32s")
_HASH_BYTES = 32
_SECTIONS_LIMIT = 16
_COLUMNS = struct.Struct("<3Q")
_COLUMNS_LIMIT_BYTES = 64 << 20
_META_LIMIT_BYTES = 1 << 20


class SectionKind(enum.IntEnum):
    """Sections of a file; the values are stored."""

    META = 1
    OPERATIONS = 2
    RECIPE = 3
    CORPUS = 4


@dataclass(frozen=True, slots=True)
class BlobMeta:
    """What the blob is. Operations name corpora by their index in ``corpora``.

    ``corpora[0]`` is the corpus of the blob's own new bytes, or None if it has none.
    """

    wire_length: int
    wire_blake3: str
    plain_length: int
    plain_blake3: str
    encoder: str
    corpora: tuple[CorpusId | None, ...]
    wire_digest: Digest | None = None

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        body: dict[str, Any] = {
            "corpora": list(self.corpora),
            "encoder": self.encoder,
            "plain": {"blake3": self.plain_blake3, "length": self.plain_length},
            "wire": {"blake3": self.wire_blake3, "length": self.wire_length},
        }
        if self.wire_digest is not None:
            body["wire"]["digest"] = str(self.wire_digest)
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The description that `to_bytes` wrote. Raises `Corrupt`."""
        try:
            body = json.loads(data)
            wire, plain = body["wire"], body["plain"]
            digest = Digest.parse(wire["digest"]) if "digest" in wire else None
            corpora = tuple(None if c is None else parse_corpus_id(c) for c in body["corpora"])
            meta = cls(
                int(wire["length"]), str(wire["blake3"]), int(plain["length"]), str(plain["blake3"]),
                str(body["encoder"]), corpora, digest,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, OverflowError, UsageError, RecursionError) as error:
            raise Corrupt(f"instructions: the description is damaged: {error}") from None
        if not 1 <= len(corpora) <= REFERENCES_LIMIT or min(meta.wire_length, meta.plain_length) < 0:
            raise Corrupt("instructions: the description is out of range")
        return meta


@dataclass(frozen=True, slots=True)
class Instructions:
    """One parsed file. ``recipe`` is empty where wire and plain bytes are the same."""

    meta: BlobMeta
    operations: Operations
    recipe: bytes
    packed: memoryview | None = None

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Self:
        """The instructions in ``data`` (bytes or a mapping). Raises `NotReducto`, `Corrupt`."""
        view = memoryview(data)
        rows, at = _parse_rows(view)
        bodies: dict[SectionKind, memoryview] = {}
        for kind, length, digest in rows:
            body = view[at : at + length]
            at += length
            hashed = body[:HEADER_BYTES] if kind is SectionKind.CORPUS else body
            if len(body) != length or blake3(hashed).digest() != digest:
                raise Corrupt(f"instructions: the {kind.name.lower()} section is damaged or cut off")
            bodies[kind] = body
        if at != len(view):
            raise Corrupt("instructions: something unknown follows the last section")
        if SectionKind.META not in bodies or SectionKind.OPERATIONS not in bodies:
            raise Corrupt("instructions: a section is missing")
        meta = BlobMeta.parse(bytes(bodies[SectionKind.META]))
        operations = _parse_operations(bodies[SectionKind.OPERATIONS], len(meta.corpora))
        return cls(meta, operations, bytes(bodies.get(SectionKind.RECIPE, b"")), bodies.get(SectionKind.CORPUS))


def operations_section(operations: Operations, references: int) -> bytes:
    """The body of the operations section, which takes longest to make.

    Raises `LimitExceeded` for more than a reader accepts.
    """
    columns, lengths = operations.encode(references)
    if len(columns) > _COLUMNS_LIMIT_BYTES or len(operations) > OPERATIONS_LIMIT:
        raise LimitExceeded(f"{len(operations)} operations in {len(columns)} bytes are too many")
    return _COLUMNS.pack(*lengths) + zstandard.ZstdCompressor(level=19).compress(columns)


def serialise(meta: BlobMeta, operations: bytes, recipe: bytes) -> bytes:
    """A file without an embedded corpus, which `with_corpus` adds; ``operations`` are an `operations_section`.

    Raises `LimitExceeded` for more than `INSTRUCTIONS_LIMIT_BYTES`.
    """
    sections = [(SectionKind.META, meta.to_bytes()), (SectionKind.OPERATIONS, operations)]
    if recipe:
        sections.append((SectionKind.RECIPE, recipe))
    rows = [(kind, len(body), blake3(body).digest()) for kind, body in sections]
    return _head(rows) + b"".join(body for _, body in sections)


def with_corpus(instructions: bytes, packed_head: bytes, packed_length: int) -> bytes:
    """``instructions``, as `serialise` made them, in the form to which a packed corpus is appended.

    The packed corpus has ``packed_length`` bytes and begins with ``packed_head``. Raises `LimitExceeded` as
    `serialise` does.
    """
    rows, at = _parse_rows(memoryview(instructions))
    row = (SectionKind.CORPUS, packed_length, blake3(packed_head[:HEADER_BYTES]).digest())
    return _head([*rows, row]) + instructions[at:]


def _head(rows: Sequence[tuple[SectionKind, int, bytes]]) -> bytes:
    head = _HEAD.pack(MAGIC, VERSION, 0, len(rows), 0)
    head += b"".join(_SECTION.pack(kind, 0, length, digest) for kind, length, digest in rows)
    length = len(head) + _HASH_BYTES + sum(length for kind, length, _ in rows if kind is not SectionKind.CORPUS)
    if length > INSTRUCTIONS_LIMIT_BYTES:
        raise LimitExceeded(f"{length} bytes of instructions are more than {INSTRUCTIONS_LIMIT_BYTES}")
    return head + blake3(head).digest()


def _parse_rows(view: memoryview) -> tuple[list[tuple[SectionKind, int, bytes]], int]:
    head = bytes(view[: _HEAD.size])
    if head[:8] != MAGIC[: len(head)] or not head:
        raise NotReducto("not a .reducto file: it does not start with its magic bytes")
    if len(head) < _HEAD.size:
        raise Corrupt("instructions: cut off inside the header")
    _, version, flags, count, zero = _HEAD.unpack(head)
    if version != VERSION or flags or zero:
        raise NotReducto(f".reducto version {version} (flags {flags:#x}) is not known; this release reads {VERSION}")
    end = _HEAD.size + count * _SECTION.size
    stated = bytes(view[end : end + _HASH_BYTES])
    if count > _SECTIONS_LIMIT or blake3(view[:end]).digest() != stated:
        raise Corrupt("instructions: the section table is damaged or cut off")
    rows = [_SECTION.unpack_from(view, _HEAD.size + i * _SECTION.size) for i in range(count)]
    try:
        parsed = [(SectionKind(kind), length, digest) for kind, _, length, digest in rows]
    except ValueError:
        raise Corrupt("instructions: a section of an unknown kind") from None
    if [kind for kind, _, _ in parsed] != sorted({kind for kind, _, _ in parsed}):
        raise Corrupt("instructions: sections are repeated or out of order")
    return parsed, end + _HASH_BYTES


def _parse_operations(section: memoryview, references: int) -> Operations:
    try:
        lengths = _COLUMNS.unpack_from(section)
    except struct.error as error:
        raise Corrupt(f"instructions: the operations are damaged: {error}") from None
    columns = bounded.decompress(section[_COLUMNS.size :], _COLUMNS_LIMIT_BYTES, "instructions: the operations")
    return Operations.decode(columns, lengths, references)
