"""Keys that wrap keys.

Wrapping is AES-256 Key Wrap (RFC 3394, NIST SP 800-38F): deterministic and without a nonce, so there is none that could
repeat. It takes no associated data; instead each child is wrapped under a key derived (HKDF-SHA256, RFC 5869) for that
child's kind and id, so a wrapped key cannot pass for another. Pure functions of bytes; `reducto.keyfiles` reads files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from reducto.errors import Corrupt, KeyUnavailable, NotReducto, UsageError

KEY_LENGTH = 32
ID_LENGTH = 16
_WRAPPED_LENGTH = KEY_LENGTH + 8
_KEY_BLOB_MAGIC = b"RDKEY1\r\n"
KEY_BLOB_LENGTH = len(_KEY_BLOB_MAGIC) + 2 * ID_LENGTH + _WRAPPED_LENGTH
_ENVELOPE = re.compile(r"v1\.([A-Za-z0-9_-]{96})")


def generate_kek() -> str:
    """A fresh key-encryption key in the form that files and variables hold: base64 of 32 random bytes."""
    return base64.b64encode(secrets.token_bytes(KEY_LENGTH)).decode()


def parse_kek(content: bytes, source: str = "the key") -> bytes:
    """The 32 key bytes of 64 hex digits or base64. Raises `UsageError`, never showing the content.

    Raw bytes are not taken: a passphrase of 32 characters would pass for a key.
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
class SealedKey:
    """A key that wraps or encrypts, with its id. The key itself is not shown by `repr`."""

    key_id: bytes
    secret: bytes = field(repr=False)

    def wrap(self, kind: str, child: SealedKey) -> bytes:
        """``child``'s secret, wrapped: 40 bytes."""
        return aes_key_wrap(self._wrapping_key(kind, child.key_id), child.secret)

    def unwrap(self, kind: str, child_id: bytes, wrapped: bytes) -> bytes:
        """The secret of the child. Raises `Corrupt` when it was not this key that wrapped exactly it."""
        try:
            return aes_key_unwrap(self._wrapping_key(kind, child_id), wrapped)
        except (InvalidUnwrap, ValueError):
            raise Corrupt(f"the wrapped {kind} key {child_id.hex()} is damaged or forged") from None

    def _wrapping_key(self, kind: str, child_id: bytes) -> bytes:
        info = b"reducto wrap v1\0" + kind.encode() + b"\0" + child_id
        return HKDF(SHA256(), KEY_LENGTH, salt=None, info=info).derive(self.secret)


class Keyring:
    """The key-encryption keys at hand: the first wraps what is new, all unwrap. Immutable, thread-safe."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = [SealedKey(_kek_id(key), key) for key in keys]
        if not self._keys:
            raise UsageError("encryption needs at least one key-encryption key")
        self._by_id = {kek.key_id: kek for kek in self._keys}

    @classmethod
    def parse(cls, contents: Iterable[tuple[str, bytes]]) -> Self:
        """The keyring of (source, content) pairs, as `reducto.keyfiles.read_secret` reads them."""
        return cls(parse_kek(content, source) for source, content in contents)

    @property
    def key_ids(self) -> list[str]:
        """The ids of the keys, hex, the wrapping one first. An id is a hash and tells nothing about the key."""
        return [kek.key_id.hex() for kek in self._keys]

    def wrap(self, key: RepositoryKey) -> bytes:
        """The key blob of a repository key: `KEY_BLOB_LENGTH` bytes, the same ones each time."""
        kek = self._keys[0]
        return _KEY_BLOB_MAGIC + kek.key_id + key.key_id + kek.wrap("repository", key)

    def unwrap(self, key_blob: bytes) -> RepositoryKey:
        """The repository key of a key blob. Raises `KeyUnavailable` when it needs a key that is not here."""
        kek_id, key_id, wrapped = _split_key_blob(key_blob)
        kek = self._by_id.get(kek_id)
        if kek is None:
            raise KeyUnavailable(
                f"repository key {key_id.hex()} is wrapped by key-encryption key {kek_id.hex()}, which was not given; "
                f"given are {', '.join(self.key_ids)}"
            )
        return RepositoryKey(key_id, kek.unwrap("repository", key_id, wrapped))

    def is_current(self, key_blob: bytes) -> bool:
        """Whether the blob is wrapped by the first key, so that a rotation leaves it as it is."""
        return _split_key_blob(key_blob)[0] == self._keys[0].key_id

    def rewrap(self, key_blob: bytes) -> bytes:
        """The same repository key wrapped by the first key: what a rotation writes. Data stays as it is."""
        return key_blob if self.is_current(key_blob) else self.wrap(self.unwrap(key_blob))


class RepositoryKey(SealedKey):
    """The key of one repository's blobs. Destroy every copy of it, and they are gone."""

    __slots__ = ()

    @classmethod
    def generate(cls) -> Self:
        """A fresh random key."""
        return cls(secrets.token_bytes(ID_LENGTH), secrets.token_bytes(KEY_LENGTH))

    def new_blob_key(self) -> tuple[SealedKey, Envelope]:
        """A fresh key for one blob, and its envelope under this key."""
        blob_key = SealedKey(secrets.token_bytes(ID_LENGTH), secrets.token_bytes(KEY_LENGTH))
        return blob_key, self.wrap_blob_key(blob_key)

    def wrap_blob_key(self, blob_key: SealedKey) -> Envelope:
        """The envelope of ``blob_key`` under this key."""
        return Envelope(self.key_id, blob_key.key_id, self.wrap("blob", blob_key))

    def open(self, envelope: Envelope) -> SealedKey:
        """The blob key. Raises `KeyUnavailable` when the envelope belongs to another repository key."""
        if envelope.repository_key_id != self.key_id:
            raise KeyUnavailable(
                f"the blob needs repository key {envelope.repository_key_id.hex()}, and {self.key_id.hex()} was given"
            )
        secret = self.unwrap("blob", envelope.blob_key_id, envelope.wrapped)
        return SealedKey(envelope.blob_key_id, secret)

    def rewrap(self, envelope: Envelope, target: RepositoryKey) -> Envelope:
        """The envelope for ``target``, to which the blob is mounted; it learns this blob's key and no other."""
        return target.wrap_blob_key(self.open(envelope))


@dataclass(frozen=True, slots=True)
class Envelope:
    """A wrapped blob key, and the names of both keys. As text it is an annotation of the blob's descriptor."""

    repository_key_id: bytes
    blob_key_id: bytes
    wrapped: bytes = field(repr=False)

    def __str__(self) -> str:
        raw = self.repository_key_id + self.blob_key_id + self.wrapped
        return f"v1.{base64.urlsafe_b64encode(raw).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The envelope that ``text`` spells. Raises `NotReducto`."""
        match = _ENVELOPE.fullmatch(text)
        if match is None:
            raise NotReducto(f"{text[:40]!r} is not an encryption envelope of version 1")
        raw = base64.urlsafe_b64decode(match[1])
        return cls(raw[:ID_LENGTH], raw[ID_LENGTH : 2 * ID_LENGTH], raw[2 * ID_LENGTH :])


def key_blob_id(key_blob: bytes) -> str:
    """The id (hex) of the repository key in a key blob, without opening it. Raises `NotReducto`."""
    return _split_key_blob(key_blob)[1].hex()


def _kek_id(key: bytes) -> bytes:
    if len(key) != KEY_LENGTH:
        raise UsageError(f"a key-encryption key has {KEY_LENGTH} bytes, not {len(key)}")
    return hashlib.sha256(b"reducto kek id v1\0" + key).digest()[:ID_LENGTH]


def _split_key_blob(key_blob: bytes) -> tuple[bytes, bytes, bytes]:
    start = len(_KEY_BLOB_MAGIC)
    if len(key_blob) != KEY_BLOB_LENGTH or key_blob[:start] != _KEY_BLOB_MAGIC:
        raise NotReducto("this is not a repository key of version 1")
    ids = start + 2 * ID_LENGTH
    return key_blob[start : start + ID_LENGTH], key_blob[start + ID_LENGTH : ids], key_blob[ids:]
