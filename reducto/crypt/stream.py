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
key is random and used by one `StreamEncryptor` only, which counts upwards and ends once: **a nonce cannot repeat under
a key**. The index prevents reordering, and the last byte prevents truncation and extension. The associated data is the
header, the `Content` and the *subject* (the digest or corpus that the plain bytes belong to), so that an encrypted blob
cannot pass for another one. Only an empty blob has an empty segment. A reader can start at any segment.
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
"""Most segments of one blob: NIST SP 800-38D, section 8.3, allows a key 2^32 invocations."""


class Content(enum.StrEnum):
    """The kind of the plain bytes. The values are part of the associated data, so they must never change."""

    INSTRUCTIONS = "instructions"
    CORPUS = "corpus"
    TOKEN_DELTA = "token delta"  # noqa: S105 (deflate tokens, no secret)


def encrypted_length(plain_length: int, segment_bits: int = DEFAULT_SEGMENT_BITS) -> int:
    """The length of the encrypted form of ``plain_length`` bytes."""
    segments = max(1, -(-plain_length >> segment_bits))
    return HEADER_LENGTH + plain_length + segments * TAG_LENGTH


def _associated_data(header: bytes, content: Content, subject: str) -> bytes:
    return header + content.value.encode() + b"\0" + subject.encode()


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + (b"\1" if last else b"\0")


class StreamEncryptor:
    """Encrypts one blob: `update` in order, then `finish` once. Not thread-safe.

    ``key`` is a new one of `Keyring.new_blob_key` that no other `StreamEncryptor` gets. ``subject`` is the original
    digest (instructions) or the corpus id (corpora).
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
        """Takes the next plain bytes; returns the encrypted segments that are complete."""
        pieces, self._unsent = [self._unsent], b""
        self._pending += plain
        # A full segment waits for the byte after it, because it may be the last segment.
        while len(self._pending) > self._segment_length:
            pieces.append(self._encrypt(last=False))
        return b"".join(pieces)

    def finish(self) -> bytes:
        """The rest of the encrypted form. Raises `UsageError` when called again."""
        rest = self._unsent + self._encrypt(last=True)
        self._cipher = None
        return rest

    def _encrypt(self, last: bool) -> bytes:
        if self._cipher is None:
            raise UsageError("this blob is finished; a StreamEncryptor encrypts one blob")
        if self._index >= SEGMENT_LIMIT:
            raise LimitExceeded(f"an encrypted blob has at most {SEGMENT_LIMIT} segments")
        length = min(len(self._pending), self._segment_length)
        with memoryview(self._pending)[:length] as plain:
            encrypted = self._cipher.encrypt(_nonce(self._index, last), plain, self._associated_data)
        del self._pending[:length]
        self._index += 1
        return encrypted


class StreamDecryptor:
    """Decrypts one blob: whole and in order (`update`, `finish`), or any range of it (`open_range`).

    Every byte that it returns was authenticated. Whether the blob is complete is known only when `finish` returns.
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
        """Takes the first `HEADER_LENGTH` bytes; returns how many plain bytes a segment has.

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

    def update(self, encrypted: bytes | memoryview) -> bytes:
        """Takes the next encrypted bytes; returns the plain bytes of segments that are complete. Raises `Corrupt`."""
        self._pending += encrypted
        if not self._segment_length:
            if len(self._pending) < HEADER_LENGTH:
                return b""
            self.read_header(bytes(self._pending[:HEADER_LENGTH]))
            del self._pending[:HEADER_LENGTH]
        pieces = []
        whole = self._segment_length + TAG_LENGTH
        while len(self._pending) > whole:
            with memoryview(self._pending)[:whole] as segment:
                pieces.append(self._decrypt(self._index, segment, last=False))
            del self._pending[:whole]
            self._index += 1
        return b"".join(pieces)

    def finish(self) -> bytes:
        """The plain bytes of the last segment. Raises `Corrupt` when the blob ends too early or too late."""
        if not self._segment_length:
            raise Corrupt("the encrypted blob ends inside its header")
        plain = self._decrypt(self._index, bytes(self._pending), last=True)
        if not plain and self._index:
            raise Corrupt("the encrypted blob ends with an empty segment")
        self._pending.clear()
        return plain

    def encrypted_range(self, plain: ByteRange, encrypted_blob_length: int) -> ByteRange:
        """The range of the encrypted blob that `open_range` needs for ``plain``. Call `read_header` before."""
        plain_length = self._plain_length(encrypted_blob_length)
        if plain.stop > plain_length:
            raise UsageError(f"bytes {plain.start}..{plain.stop} of a blob with {plain_length} plain bytes")
        whole = self._segment_length + TAG_LENGTH
        first, last = plain.start // self._segment_length, max(plain.start, plain.stop - 1) // self._segment_length
        stop = min(encrypted_blob_length, HEADER_LENGTH + (last + 1) * whole)
        return ByteRange(min(HEADER_LENGTH + first * whole, stop), stop)

    def open_range(self, plain: ByteRange, encrypted: bytes | memoryview, encrypted_blob_length: int) -> bytes:
        """The plain bytes of ``plain``, from the encrypted bytes of its `encrypted_range`. Raises `Corrupt`."""
        wanted = self.encrypted_range(plain, encrypted_blob_length)
        if len(encrypted) != len(wanted):
            raise Corrupt(f"encrypted range of {len(encrypted)} bytes, {len(wanted)} expected")
        first = plain.start // self._segment_length
        decrypted = b"".join(self._decrypt_segments(first, memoryview(encrypted), wanted, encrypted_blob_length))
        skip = plain.start - first * self._segment_length
        return decrypted[skip : skip + len(plain)]

    def _decrypt_segments(self, index: int, encrypted: memoryview, at: ByteRange, blob_length: int) -> Iterator[bytes]:
        whole = self._segment_length + TAG_LENGTH
        for start in range(0, len(encrypted), whole):
            segment = encrypted[start : start + whole]
            yield self._decrypt(index, segment, last=at.start + start + len(segment) == blob_length)
            index += 1

    def _plain_length(self, encrypted_blob_length: int) -> int:
        body = encrypted_blob_length - HEADER_LENGTH
        segments = -(-body // (self._segment_length + TAG_LENGTH))
        plain_length = body - segments * TAG_LENGTH
        if not self._segment_length or plain_length < 0 or segments < 1:
            raise Corrupt(f"no encrypted blob has {encrypted_blob_length} bytes")
        return plain_length

    def _decrypt(self, index: int, encrypted: bytes | memoryview, last: bool) -> bytes:
        try:
            return self._cipher.decrypt(_nonce(index, last), encrypted, self._associated_data)
        except (InvalidTag, ValueError):
            raise Corrupt(
                f"segment {index} of the encrypted {self._content.value} of {self._subject} is damaged or forged"
            ) from None
