"""Ed25519 signatures, and the keys that are trusted to sign a corpus, a record, or an audit log.

Every signed message begins with its *domain*, ``reducto <purpose> v1``, perhaps more words, and a NUL byte;
`Signer.sign` refuses a message without one. So a signature of a corpus can never pass for one of a record, whatever an
attacker makes the bytes after the domain look like, and a key can be trusted for some purposes only.

Signatures are Ed25519 of RFC 8032, by PyPI ``cryptography``. This module does no I/O; `reducto.trust.key_files`
reads and writes keys.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NewType, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from reducto.errors import Untrusted, UsageError

#: Names a public key: the first 16 bytes (32 hex digits) of the SHA-256 of its 32 raw bytes.
KeyId = NewType("KeyId", str)

SIGNATURE_LENGTH = 64
_DOMAIN = re.compile(rb"reducto ([a-z]{1,32}) v1(?: [a-z ]{1,32})?\x00")


class Purpose(enum.StrEnum):
    """What a signature is for. The values are part of every signed message, so they must never change."""

    CORPUS = "corpus"
    RECORD = "record"
    AUDIT = "audit"


def message(purpose: Purpose, *fields: bytes | str) -> bytes:
    """The bytes to sign for ``purpose``: the domain, then each field after its 8-byte big-endian length.

    Because of the lengths, no two lists of fields give the same message.
    """
    parts = [f"reducto {purpose.value} v1\0".encode()]
    for value in fields:
        raw = value.encode() if isinstance(value, str) else value
        parts += [len(raw).to_bytes(8, "big"), raw]
    return b"".join(parts)


def purpose_of(signed_message: bytes) -> Purpose:
    """The purpose that a message's domain states. Raises `UsageError` if there is none, or an unknown one."""
    match = _DOMAIN.match(signed_message)
    if match is not None:
        for purpose in Purpose:
            if match[1].decode() == purpose.value:
                return purpose
    raise UsageError("the message has no known signing domain; build it with reducto.trust.signatures.message")


def key_id_of(public: Ed25519PublicKey) -> KeyId:
    """The id of a public key."""
    return KeyId(hashlib.sha256(public.public_bytes_raw()).hexdigest()[:32])


def signature_text(signature: bytes) -> str:
    """A signature as JSON holds it: base64."""
    return base64.b64encode(signature).decode()


def parse_signature(text: object) -> bytes:
    """The signature in ``text``. Raises `Untrusted` unless it is spelled exactly as `signature_text` spells it."""
    try:
        signature = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        signature = b""
    if len(signature) != SIGNATURE_LENGTH or signature_text(signature) != text:
        raise Untrusted(f"a signature is {SIGNATURE_LENGTH} bytes in base64, and this is not one")
    return signature


class Signer:
    """Signs with one private key. Thread-safe. Never shows the private key, not even in `repr`."""

    __slots__ = ("_private", "key_id", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.key_id = key_id_of(self.public)

    @classmethod
    def generate(cls) -> Self:
        """A signer with a new random key."""
        return cls(Ed25519PrivateKey.generate())

    def sign(self, signed_message: bytes) -> bytes:
        """The 64-byte signature of a message built by `message`. Raises `UsageError` for one without a domain."""
        purpose_of(signed_message)
        return self._private.sign(signed_message)

    def private_key(self) -> Ed25519PrivateKey:
        """The private key itself, for `reducto.trust.key_files` to write."""
        return self._private

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"


class KeyState(enum.StrEnum):
    """What a trusted key may do today."""

    ACTIVE = "active"
    RETIRED = "retired"  # no new signatures are made with it; what it signed stays good
    REVOKED = "revoked"  # nothing it signed is good any more


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key with what it is trusted for, and until when (``not_after``, UTC; None: no end)."""

    public: Ed25519PublicKey
    state: KeyState = KeyState.ACTIVE
    purposes: frozenset[Purpose] = field(default_factory=lambda: frozenset(Purpose))
    not_after: datetime | None = None
    source: str = ""

    @property
    def key_id(self) -> KeyId:
        """The key's id, computed from the key itself."""
        return key_id_of(self.public)

    def refusal(self, purpose: Purpose, now: datetime) -> str | None:
        """Why this key does not vouch for ``purpose`` at ``now``, or None when it does."""
        if self.state is KeyState.REVOKED:
            return "is revoked"
        if self.not_after is not None and now > self.not_after:
            return f"is trusted only until {self.not_after.isoformat()}"
        if purpose not in self.purposes:
            return f"is not trusted for {purpose.value} signatures"
        return None


class TrustStore:
    """The public keys that are trusted. Immutable, thread-safe.

    Of a key that is given twice, the stricter terms hold: revoked before retired before active, the earlier end, the
    purposes that both allow. So a revocation can be added beside a key, in whatever order they are read.
    """

    def __init__(self, keys: Iterable[TrustedKey] = ()) -> None:
        self._keys: dict[KeyId, TrustedKey] = {}
        for key in keys:
            known = self._keys.get(key.key_id)
            self._keys[key.key_id] = key if known is None else _strictest(known, key)

    @classmethod
    def of(cls, *signers: Signer) -> Self:
        """A store that trusts exactly these signers' keys, for every purpose."""
        return cls(TrustedKey(signer.public, source="signer") for signer in signers)

    def __iter__(self) -> Iterator[TrustedKey]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def verify(self, key_id: str, signed_message: bytes, signature: bytes) -> None:
        """Returns when a trusted key of that id made the signature. Raises `Untrusted`, saying why, otherwise."""
        self.signed_by(key_id, signed_message, signature)

    def signed_by(
        self, key_id: str, signed_message: bytes, signature: bytes, now: datetime | None = None
    ) -> TrustedKey:
        """The trusted key that signed the message. Raises `Untrusted`, saying why, when there is none.

        ``now`` (UTC) is for tests; by default it is the present time.
        """
        purpose = purpose_of(signed_message)
        if not signature:
            raise Untrusted(f"the {purpose.value} is not signed; sign it, or do not require signatures")
        key = self._keys.get(KeyId(key_id))
        if key is None:
            raise Untrusted(
                f"the {purpose.value} is signed by key {key_id[:64]!r}, which is not trusted; "
                f"add its public key to the trusted keys if it should be"
            )
        refusal = key.refusal(purpose, now or datetime.now(UTC))
        if refusal is not None:
            raise Untrusted(f"the {purpose.value} is signed by key {key.key_id}, which {refusal}")
        try:
            key.public.verify(signature, signed_message)
        except InvalidSignature:
            raise Untrusted(
                f"the {purpose.value}'s signature by key {key.key_id} is wrong: it was changed after it was signed, "
                f"or belongs to something else"
            ) from None
        return key


_STRICTNESS = (KeyState.ACTIVE, KeyState.RETIRED, KeyState.REVOKED)


def _strictest(one: TrustedKey, other: TrustedKey) -> TrustedKey:
    ends = [end for end in (one.not_after, other.not_after) if end is not None]
    return TrustedKey(
        public=one.public,
        state=max(one.state, other.state, key=_STRICTNESS.index),
        purposes=one.purposes & other.purposes,
        not_after=min(ends) if ends else None,
        source=one.source or other.source,
    )
