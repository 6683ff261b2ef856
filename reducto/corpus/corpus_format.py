"""The `.rc` format, version 1: what its bytes mean. No file is touched here; docs/formats/corpus.md says why.

::

    header (4096) | plain | index | hooks | paths | anchors | dictionary | info | manifest
    | signature block (may be absent)

Sections follow one another in this order: the plain bytes begin at offset 4096, every later section at the next
multiple of 64, and the bytes between them are zero. All numbers are little-endian. There is exactly one right offset
for every byte, so a reader compares instead of trusting offsets.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from blake3 import blake3

from reducto.errors import Corrupt, NotReducto, UsageError
from reducto.kernel.chunking import ChunkParams
from reducto.trust.signatures import Purpose, message
from reducto.values import CorpusId

MAGIC = b"\x89RDC\r\n\x1a\n"
VERSION = 1
CHUNKER_VERSION = 1
HEADER_BYTES = 4096
SECTION_ALIGNMENT = 64
SEGMENT_BYTES = 1 << 20
HASH_BYTES = 32
SIGNATURE_BYTES = 64
KEY_ID_LIMIT_BYTES = 128
# No file is longer than 2^63 bytes. The sum of hostile lengths is held against it, because C takes 64-bit numbers.
_END_LIMIT = 1 << 63

_FIXED = struct.Struct("<8sHHIIIII")
_SECTION = struct.Struct("<QQ")
_MANIFEST = struct.Struct("<4sIQQ")
_MANIFEST_MAGIC = b"RDCM"
_SIGNATURE = struct.Struct("<4sHH")
_SIGNATURE_MAGIC = b"RDCS"

_ID_CONTEXT = "reducto 2026 corpus v1 identity"
_ROOT_CONTEXT = "reducto 2026 corpus v1 root"


class Section(enum.IntEnum):
    """The sections in their order in the file; the value is the row of the header's table."""

    PLAIN = 0
    INDEX = 1
    HOOKS = 2
    PATHS = 3
    ANCHORS = 4
    DICTIONARY = 5
    INFO = 6
    MANIFEST = 7


#: Sections that have one hash each in the manifest. The plain bytes have one for every segment.
HASHED_SECTIONS = (
    Section.INDEX,
    Section.HOOKS,
    Section.PATHS,
    Section.ANCHORS,
    Section.DICTIONARY,
    Section.INFO,
)


@dataclass(frozen=True, slots=True)
class SectionExtent:
    """Offset of a section in the file, and its length, in bytes."""

    offset: int
    length: int

    @property
    def stop(self) -> int:
        return self.offset + self.length


def align(offset: int) -> int:
    """The next offset at which a section may start."""
    return -(-offset // SECTION_ALIGNMENT) * SECTION_ALIGNMENT


def section_extents(lengths: Sequence[int]) -> tuple[SectionExtent, ...]:
    """Where sections of these ``lengths`` (bytes, in `Section` order) lie: there is one right answer."""
    out = []
    offset = HEADER_BYTES
    for length in lengths:
        out.append(SectionExtent(offset, length))
        offset = align(offset + length)
    return tuple(out)


def segment_count(plain_length: int) -> int:
    """How many segments of 1 MiB ``plain_length`` bytes have; the last one may be shorter."""
    return -(-plain_length // SEGMENT_BYTES)


@dataclass(frozen=True, slots=True)
class CorpusHeader:
    """The first page of the file: chunking parameters, and where each section lies."""

    chunking: ChunkParams
    sections: tuple[SectionExtent, ...]

    def __getitem__(self, section: Section) -> SectionExtent:
        return self.sections[section]

    def to_bytes(self) -> bytes:
        """The page, zero-filled to `HEADER_BYTES`."""
        chunking = (CHUNKER_VERSION, self.chunking.average_bytes, self.chunking.lean_to_lines)
        out = _FIXED.pack(MAGIC, VERSION, 0, len(Section), SEGMENT_BYTES, *chunking)
        out += b"".join(_SECTION.pack(extent.offset, extent.length) for extent in self.sections)
        return out.ljust(HEADER_BYTES, b"\0")

    @classmethod
    def parse(cls, page: bytes | memoryview) -> Self:
        """The header in ``page``. Raises `NotReducto` (magic, version) or `Corrupt`."""
        page = bytes(page[:HEADER_BYTES])
        if page[: len(MAGIC)] != MAGIC[: len(page)] or not page:
            raise NotReducto("not a corpus: it does not start with the magic bytes of an .rc file")
        if len(page) < HEADER_BYTES:
            raise Corrupt(f"corpus truncated: {len(page)} bytes are less than its header page")
        _, version, flags, sections, segment, chunker, average, lean = _FIXED.unpack_from(page)
        if version != VERSION or flags:
            raise NotReducto(
                f"corpus format version {version} (flags {flags:#x}) is not known to this release, "
                f"which reads version {VERSION}"
            )
        if chunker != CHUNKER_VERSION:
            raise NotReducto(f"corpus chunked by chunker version {chunker}, this release knows {CHUNKER_VERSION}")
        if sections != len(Section) or segment != SEGMENT_BYTES:
            raise Corrupt("corpus header: wrong number of sections or segment size")
        lengths = [_SECTION.unpack_from(page, _FIXED.size + i * _SECTION.size)[1] for i in range(len(Section))]
        chunking = ChunkParams(average, bool(lean))
        try:
            _ = chunking.native
        except UsageError as error:
            raise Corrupt(f"corpus header: {error}") from None
        header = cls(chunking, section_extents(lengths))
        if header.sections[-1].stop >= _END_LIMIT or header.to_bytes() != page:
            raise Corrupt("corpus header: a section does not lie where this format puts it")
        return header


def manifest_length(plain_length: int) -> int:
    """Length of the manifest of a corpus of ``plain_length`` bytes."""
    return _MANIFEST.size + HASH_BYTES * (1 + len(HASHED_SECTIONS) + 1 + segment_count(plain_length) + 1)


def identity(plain_length: int, dictionary_hash: bytes, segment_hashes: bytes | memoryview) -> CorpusId:
    """The identity of plain bytes and a dictionary.

    It does not depend on tables, compression, signature or the layout of a file.
    """
    hasher = blake3(plain_length.to_bytes(8, "little"), derive_key_context=_ID_CONTEXT)
    hasher.update(dictionary_hash)
    hasher.update(segment_hashes)
    return CorpusId(hasher.hexdigest())


@dataclass(frozen=True, slots=True)
class CorpusManifest:
    """The hashes of everything in the file. ``segment_hashes`` has `HASH_BYTES` for each segment, in order."""

    plain_length: int
    header_hash: bytes
    section_hashes: tuple[bytes, ...]
    segment_hashes: bytes

    @property
    def corpus_id(self) -> CorpusId:
        dictionary_hash = self.section_hashes[HASHED_SECTIONS.index(Section.DICTIONARY)]
        return identity(self.plain_length, dictionary_hash, self.segment_hashes)

    def _body(self) -> bytes:
        count = segment_count(self.plain_length)
        return b"".join(
            (
                _MANIFEST.pack(_MANIFEST_MAGIC, VERSION, self.plain_length, count),
                self.header_hash,
                *self.section_hashes,
                bytes.fromhex(self.corpus_id),
                self.segment_hashes,
            )
        )

    @property
    def root(self) -> bytes:
        """The hash (32 bytes) over everything in the file but the signature."""
        return bytes(blake3(self._body(), derive_key_context=_ROOT_CONTEXT).digest())

    def to_bytes(self) -> bytes:
        return self._body() + self.root

    @classmethod
    def parse(cls, data: bytes | memoryview, plain_length: int) -> Self:
        """The manifest in ``data``, its root and identity checked. Raises `Corrupt`."""
        data = bytes(data)
        if len(data) != manifest_length(plain_length):
            raise Corrupt("corpus manifest: its length does not fit the plain bytes")
        fields = data[_MANIFEST.size : -HASH_BYTES]
        hashes = [fields[i : i + HASH_BYTES] for i in range(0, (1 + len(HASHED_SECTIONS)) * HASH_BYTES, HASH_BYTES)]
        segments = fields[(len(hashes) + 1) * HASH_BYTES :]
        manifest = cls(plain_length, hashes[0], tuple(hashes[1:]), segments)
        if manifest.to_bytes() != data:
            raise Corrupt("corpus manifest: root hash or identity does not match; the file is damaged")
        return manifest


@dataclass(frozen=True, slots=True)
class SignatureBlock:
    """An Ed25519 signature over a root hash, and the id of the key that made it."""

    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        key_id = self.key_id.encode()
        if not 0 < len(key_id) <= KEY_ID_LIMIT_BYTES or len(self.signature) != SIGNATURE_BYTES:
            raise UsageError("a corpus signature needs a key id of 1 to 128 bytes and a 64-byte Ed25519 signature")
        return _SIGNATURE.pack(_SIGNATURE_MAGIC, VERSION, len(key_id)) + key_id + self.signature

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Self:
        """The block in ``data``, unverified. Raises `Corrupt`."""
        data = bytes(data[: _SIGNATURE.size + KEY_ID_LIMIT_BYTES + SIGNATURE_BYTES + 1])
        try:
            magic, version, key_length = _SIGNATURE.unpack_from(data)
            block = cls(
                data[_SIGNATURE.size : _SIGNATURE.size + key_length].decode(),
                data[_SIGNATURE.size + key_length :],
            )
            if (magic, version) != (_SIGNATURE_MAGIC, VERSION) or block.to_bytes() != data:
                raise ValueError
        except (struct.error, ValueError, UsageError):
            raise Corrupt("corpus signature block is damaged or something follows it") from None
        return block


def signed_message(root: bytes) -> bytes:
    """The bytes that a corpus signature signs, for the root hash ``root``."""
    return message(Purpose.CORPUS, root)
