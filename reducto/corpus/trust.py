"""What a corpus needs of keys: two small interfaces. `reducto.keys` holds the Ed25519 implementation."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """Holds one private key."""

    @property
    def key_id(self) -> str:
        """The name under which verifiers know the public key; at most 128 bytes of UTF-8."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message``."""


class TrustStore(Protocol):
    """Knows the public keys that are trusted."""

    def verify(self, key_id: str, message: bytes, signature: bytes) -> None:
        """Returns if a trusted key of that name made ``signature``; raises `Untrusted` otherwise."""
