"""Data and keys for the corpus tests."""

from __future__ import annotations

import random
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.info import CorpusInfo
from reducto.corpus.trust import Signer
from reducto.errors import Untrusted
from reducto.kernel.chunking import ChunkParams, path_hash
from reducto.model import CorpusId


class Key:
    """An Ed25519 key that is its own trust store."""

    def __init__(self, seed: bytes = b"corpus tests only, no real key!!", key_id: str = "test-key") -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key_id = key_id

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def verify(self, key_id: str, message: bytes, signature: bytes) -> None:
        if key_id != self.key_id:
            raise Untrusted(f"key {key_id!r} is not trusted")
        try:
            self._private.public_key().verify(signature, message)
        except InvalidSignature:
            raise Untrusted(f"the signature by {key_id!r} is wrong") from None


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


def write_small(path: Path, *, signer: Signer | None = None, plain: bytes | None = None) -> CorpusId:
    """A corpus with something in every section."""
    plain = noise(40_000) if plain is None else plain
    with IndexedCorpusWriter(path, chunking=ChunkParams(1024), signer=signer) as writer:
        half = len(plain) // 2
        writer.append(plain[:half], anchors=[512, half - 7])
        writer.append(plain[half:])
        writer.note_member(path_hash(b"usr/lib/libssl.so.3"), 512)
        writer.note_member(path_hash(b"usr/lib/libssl.so.11"), half - 7)
        writer.note_member(path_hash(b"etc/passwd"), 0)
        return writer.finish(dictionary=b"not a real dictionary", info=CorpusInfo("small", {"origin": "tests"}))
