"""Key-encryption keys, and blob keys wrapped by them.

Wrapping is AES-256 Key Wrap (RFC 3394, NIST SP 800-38F). It is deterministic and has no nonce that could repeat. It
takes no associated data. Instead each blob key is wrapped under a key that is derived for its id (HKDF-SHA256, RFC
5869), so that one blob's envelope cannot pass for another's. This module does no I/O; `reducto.trust.key_files` reads
files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from reducto.errors import Corrupt, KeyUnavailable, NotReducto, UsageError

KEY_LENGTH = 32
ID_LENGTH = 16
_ENVELOPE = re.compile(r"v1\.([A-Za-z0-9_-]{96})")


def generate_kek() -> str:
    """A new key-encryption key in the form that files and variables hold: base64 of 32 random bytes."""
    return base64.b64encode(secrets.token_bytes(KEY_LENGTH)).decode()


def parse_kek(content: bytes, source: str = "the key") -> bytes:
    """The 32 key bytes of 64 hex digits or base64. Raises `UsageError`, never showing the content.

    Raw bytes are refused, because a passphrase of 32 characters would pass for a key.
    """
    text = content.strip()
    try:
        key = bytes.fromhex(text.decode()) if len(text) == 2 * KEY_LENGTH else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_LENGTH:
        raise UsageError(f"{source} is not 32 bytes in base64 or hex; make one with reducto keys generate --kind kek")
    return key


@dataclass(frozen=True, slots=True)
class BlobKey:
    """The key of one blob's bytes, and its id, which stands in the blob's header."""

    key_id: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """A new random key."""
        return cls(secrets.token_bytes(ID_LENGTH), secrets.token_bytes(KEY_LENGTH))


@dataclass(frozen=True, slots=True)
class Envelope:
    """A wrapped blob key, and the names of both keys. As text it is an annotation of the blob's descriptor."""

    kek_id: bytes
    blob_key_id: bytes
    wrapped: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"v1.{base64.urlsafe_b64encode(self.kek_id + self.blob_key_id + self.wrapped).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The envelope that ``text`` spells. Raises `NotReducto`."""
        match = _ENVELOPE.fullmatch(text)
        if match is None:
            raise NotReducto(f"{text[:40]!r} is not an encryption envelope of version 1")
        raw = base64.urlsafe_b64decode(match[1])
        return cls(raw[:ID_LENGTH], raw[ID_LENGTH : 2 * ID_LENGTH], raw[2 * ID_LENGTH :])


class Keyring:
    """The key-encryption keys at hand. Immutable, thread-safe.

    The first of ``keys`` wraps new blob keys, and all of them unwrap. ``repositories`` are (pattern, key) pairs: a
    repository whose name matches a pattern (``team/*``; the star crosses slashes; the first match counts) has its blob
    keys wrapped by that key instead. Every key unwraps what it wrapped, in any repository, so that blobs can be copied.
    """

    def __init__(self, keys: Iterable[bytes], repositories: Iterable[tuple[str, bytes]] = ()) -> None:
        self._default = [_Kek(key) for key in keys]
        self._by_pattern = [(pattern, _Kek(key)) for pattern, key in repositories]
        if not self._default:
            raise UsageError("encryption needs at least one key-encryption key (security.encryption.keys)")
        self._by_id = {kek.key_id: kek for kek in (*self._default, *(kek for _, kek in self._by_pattern))}

    @classmethod
    def load(cls, sources: Iterable[str], repositories: Iterable[str], read_secret: Callable[[str], bytes]) -> Self:
        """The keyring of key sources, and of ``PATTERN=SOURCE`` texts for repositories with their own key.

        ``read_secret`` is `reducto.trust.key_files.read_secret`. Raises `UsageError`.
        """
        pairs = []
        for text in repositories:
            pattern, equals, source = text.partition("=")
            if not (pattern and equals and source):
                raise UsageError(f"{text!r} is not of the form PATTERN=SOURCE, as in team/*=file:/keys/team")
            pairs.append((pattern, parse_kek(read_secret(source), source)))
        return cls([parse_kek(read_secret(source), source) for source in sources], pairs)

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys in hex, the default key's first. An id is a hash and tells nothing about the key."""
        return [key_id.hex() for key_id in self._by_id]

    def new_blob_key(self, repository: str) -> tuple[BlobKey, Envelope]:
        """A new key for one blob of the repository, and its envelope."""
        blob_key = BlobKey.generate()
        return blob_key, self._kek_of(repository).wrap(blob_key)

    def open(self, envelope: Envelope) -> BlobKey:
        """The blob key in ``envelope``.

        Raises `KeyUnavailable` without the key-encryption key that wrapped it, `Corrupt` for a forged envelope.
        """
        kek = self._by_id.get(envelope.kek_id)
        if kek is None:
            raise KeyUnavailable(
                f"key-encryption key {envelope.kek_id.hex()} is needed and was not given; "
                f"given are {', '.join(self.key_ids)}"
            )
        return kek.unwrap(envelope)

    def is_current(self, envelope: Envelope, repository: str) -> bool:
        """Whether the envelope is wrapped by the key that is used for the repository's new blobs."""
        return envelope.kek_id == self._kek_of(repository).key_id

    def rewrap(self, envelope: Envelope, repository: str) -> Envelope:
        """The blob key wrapped by the present key of ``repository``, for rotations and mounts from other ones."""
        if self.is_current(envelope, repository):
            return envelope
        return self._kek_of(repository).wrap(self.open(envelope))

    def _kek_of(self, repository: str) -> _Kek:
        for pattern, kek in self._by_pattern:
            if fnmatchcase(repository, pattern):
                return kek
        return self._default[0]


class _Kek:
    """One key-encryption key."""

    __slots__ = ("_secret", "key_id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_LENGTH:
            raise UsageError(f"a key-encryption key has {KEY_LENGTH} bytes, not {len(secret)}")
        self._secret = secret
        self.key_id = hashlib.sha256(b"reducto kek id v1\0" + secret).digest()[:ID_LENGTH]

    def wrap(self, blob_key: BlobKey) -> Envelope:
        wrapped = aes_key_wrap(self._wrapping_key(blob_key.key_id), blob_key.secret)
        return Envelope(self.key_id, blob_key.key_id, wrapped)

    def unwrap(self, envelope: Envelope) -> BlobKey:
        try:
            secret = aes_key_unwrap(self._wrapping_key(envelope.blob_key_id), envelope.wrapped)
        except (InvalidUnwrap, ValueError):
            raise Corrupt(f"the wrapped key of blob key {envelope.blob_key_id.hex()} is damaged or forged") from None
        return BlobKey(envelope.blob_key_id, secret)

    def _wrapping_key(self, blob_key_id: bytes) -> bytes:
        info = b"reducto wrap v1\0blob\0" + blob_key_id
        return HKDF(SHA256(), KEY_LENGTH, salt=None, info=info).derive(self._secret)
