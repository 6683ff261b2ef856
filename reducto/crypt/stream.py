"""The encrypted form of a blob: AES-256-GCM in segments (the STREAM construction of Hoang, Reyhanitabar, Rogaway and
Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015).

::

    header   8 bytes   magic "RDSEAL1\\n"
             1 byte    segment bits b: a segment has 2**b plain bytes, the last one 1 to 2**b
             7 bytes   zero
            16 bytes   blob key id
    segment  AES-256-GCM(blob key, nonce, plain, associated data), plain length + 16 bytes of tag
    ...

The nonce is the segment's index (11 bytes, big-endian) and one byte that is 1 for the last segment, else 0. The blob
key is random and used by one `Sealer` only, which counts upwards and ends once: **a nonce cannot repeat under a key**.
The index prevents reordering, the last flag truncation and extension. The associated data is the header, the `Content`
and the *subject* (which digest or corpus the plain bytes belong to), so that an encrypted blob cannot stand in for
another. Only an empty blob has an empty segment. A reader can start at any segment.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from reducto.crypt.keyring import ID_LENGTH, BlobKey
from reducto.errors import Corrupt, KeyUnavailable, LimitExceeded, NotReducto, UsageError
from reducto.values import ByteRange

MAGIC = b"RDSEAL1\n"
HEADER_LENGTH = 32
TAG_LENGTH = 16
MIN_SEGMENT_BITS, DEFAULT_SEGMENT_BITS, MAX_SEGMENT_BITS = 12, 18, 24
SEGMENT_LIMIT = 2**32
"""Segments of one blob; NIST SP 800-38D, section 8.3, allows a key no more invocations."""


class Content(enum.StrEnum):
    """What the plain bytes are. The values are part of the associated data: never change one."""

    INSTRUCTIONS = "instructions"
    CORPUS = "corpus"
    TOKEN_DELTA = "token delta"  # noqa: S105 (of deflate)


def sealed_length(plain_length: int, segment_bits: int = DEFAULT_SEGMENT_BITS) -> int:
    """Bytes of the encrypted form of ``plain_length`` bytes."""
    segments = max(1, -(-plain_length >> segment_bits))
    return HEADER_LENGTH + plain_length + segments * TAG_LENGTH


def _associated_data(header: bytes, content: Content, subject: str) -> bytes:
    return header + content.value.encode() + b"\0" + subject.encode()


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + (b"\1" if last else b"\0")


class Sealer:
    """Encrypts one blob: `update` in order, then `finish` once. Not thread-safe.

    ``key`` is a fresh one of `Keyring.new_blob_key`, given to no other Sealer. ``subject`` is the original digest
    (instructions) or the corpus id (corpora).
    """

    def __init__(self, key: BlobKey, content: Content, subject: str, segment_bits: int = DEFAULT_SEGMENT_BITS) -> None:
        if not MIN_SEGMENT_BITS <= segment_bits <= MAX_SEGMENT_BITS:
            raise UsageError(f"segment bits {segment_bits} not in {MIN_SEGMENT_BITS}..{MAX_SEGMENT_BITS}")
        self._unsent = header = MAGIC + bytes([segment_bits]) + bytes(7) + key.key_id
        self._associated_data = _associated_data(header, content, subject)
        self._cipher: AESGCM | None = AESGCM(key.secret)
        self._segment_length = 1 << segment_bits
        self._pending = bytearray()
        self._index = 0

    def update(self, plain: bytes | memoryview) -> bytes:
        """Takes the next plain bytes; gives what is complete of the encrypted form."""
        pieces, self._unsent = [self._unsent], b""
        self._pending += plain
        # A full segment waits for the byte after it: it may be the last one.
        while len(self._pending) > self._segment_length:
            pieces.append(self._seal(last=False))
        return b"".join(pieces)

    def finish(self) -> bytes:
        """The rest of the encrypted form. Raises `UsageError` when called again."""
        rest = self._unsent + self._seal(last=True)
        self._cipher = None
        return rest

    def _seal(self, last: bool) -> bytes:
        if self._cipher is None:
            raise UsageError("this blob is finished; a Sealer encrypts one blob")
        if self._index >= SEGMENT_LIMIT:
            raise LimitExceeded(f"an encrypted blob has at most {SEGMENT_LIMIT} segments")
        length = min(len(self._pending), self._segment_length)
        with memoryview(self._pending)[:length] as plain:
            sealed = self._cipher.encrypt(_nonce(self._index, last), plain, self._associated_data)
        del self._pending[:length]
        self._index += 1
        return sealed


class Opener:
    """Decrypts one blob: whole and in order (`update`, `finish`), or any range of it (`open_range`).

    Every byte it gives was authenticated; that the blob is whole is known only when `finish` returns.
    """

    def __init__(self, key: BlobKey, content: Content, subject: str) -> None:
        self._key = key
        self._cipher = AESGCM(key.secret)
        self._content, self._subject = content, subject
        self._associated_data = b""
        self._segment_length = 0
        self._pending = bytearray()
        self._index = 0

    def read_header(self, header: bytes) -> int:
        """Takes the first `HEADER_LENGTH` bytes; gives the plain bytes per segment.

        Raises `NotReducto` for another format, `KeyUnavailable` when the blob was encrypted under another key.
        """
        if len(header) < HEADER_LENGTH or header[: len(MAGIC)] != MAGIC or header[9:16] != bytes(7):
            raise NotReducto("this is not an encrypted blob of version 1")
        if not MIN_SEGMENT_BITS <= header[8] <= MAX_SEGMENT_BITS:
            raise NotReducto(f"encrypted blob with segments of 2**{header[8]} bytes")
        key_id = header[16 : 16 + ID_LENGTH]
        if key_id != self._key.key_id:
            raise KeyUnavailable(f"the blob is encrypted by key {key_id.hex()}, not by {self._key.key_id.hex()}")
        self._associated_data = _associated_data(header[:HEADER_LENGTH], self._content, self._subject)
        self._segment_length = 1 << header[8]
        return self._segment_length

    def update(self, sealed: bytes | memoryview) -> bytes:
        """Takes the next encrypted bytes; gives the plain bytes that they complete. Raises `Corrupt`."""
        self._pending += sealed
        if not self._segment_length:
            if len(self._pending) < HEADER_LENGTH:
                return b""
            self.read_header(bytes(self._pending[:HEADER_LENGTH]))
            del self._pending[:HEADER_LENGTH]
        pieces = []
        whole = self._segment_length + TAG_LENGTH
        while len(self._pending) > whole:
            with memoryview(self._pending)[:whole] as segment:
                pieces.append(self._open(self._index, segment, last=False))
            del self._pending[:whole]
            self._index += 1
        return b"".join(pieces)

    def finish(self) -> bytes:
        """The plain bytes of the last segment. Raises `Corrupt` when the blob ends too early or too late."""
        if not self._segment_length:
            raise Corrupt("the encrypted blob ends inside its header")
        plain = self._open(self._index, bytes(self._pending), last=True)
        if not plain and self._index:
            raise Corrupt("the encrypted blob ends with an empty segment")
        self._pending.clear()
        return plain

    def sealed_range(self, plain: ByteRange, sealed_blob_length: int) -> ByteRange:
        """Where in the encrypted blob lies what `open_range` needs for ``plain``; after `read_header`."""
        plain_length = self._plain_length(sealed_blob_length)
        if plain.stop > plain_length:
            raise UsageError(f"bytes {plain.start}..{plain.stop} of a blob with {plain_length} plain bytes")
        whole = self._segment_length + TAG_LENGTH
        first, last = plain.start // self._segment_length, max(plain.start, plain.stop - 1) // self._segment_length
        stop = min(sealed_blob_length, HEADER_LENGTH + (last + 1) * whole)
        return ByteRange(min(HEADER_LENGTH + first * whole, stop), stop)

    def open_range(self, plain: ByteRange, sealed: bytes | memoryview, sealed_blob_length: int) -> bytes:
        """The plain bytes of ``plain``, from the encrypted bytes of its `sealed_range`. Raises `Corrupt`."""
        wanted = self.sealed_range(plain, sealed_blob_length)
        if len(sealed) != len(wanted):
            raise Corrupt(f"encrypted range of {len(sealed)} bytes, {len(wanted)} expected")
        first = plain.start // self._segment_length
        opened = b"".join(self._open_segments(first, memoryview(sealed), wanted, sealed_blob_length))
        skip = plain.start - first * self._segment_length
        return opened[skip : skip + len(plain)]

    def _open_segments(self, index: int, sealed: memoryview, at: ByteRange, blob_length: int) -> Iterator[bytes]:
        whole = self._segment_length + TAG_LENGTH
        for start in range(0, len(sealed), whole):
            segment = sealed[start : start + whole]
            yield self._open(index, segment, last=at.start + start + len(segment) == blob_length)
            index += 1

    def _plain_length(self, sealed_blob_length: int) -> int:
        body = sealed_blob_length - HEADER_LENGTH
        segments = -(-body // (self._segment_length + TAG_LENGTH))
        plain_length = body - segments * TAG_LENGTH
        if not self._segment_length or plain_length < 0 or segments < 1:
            raise Corrupt(f"no encrypted blob has {sealed_blob_length} bytes")
        return plain_length

    def _open(self, index: int, sealed: bytes | memoryview, last: bool) -> bytes:
        try:
            return self._cipher.decrypt(_nonce(index, last), sealed, self._associated_data)
        except (InvalidTag, ValueError):
            raise Corrupt(
                f"segment {index} of the encrypted {self._content.value} of {self._subject} is damaged or forged"
            ) from None
