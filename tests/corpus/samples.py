"""Data and keys for the corpus tests."""

from __future__ import annotations

import random
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.info import CorpusInfo
from reducto.kernel.chunking import ChunkParams, path_hash
from reducto.trust.signatures import Signer, TrustStore
from reducto.values import CorpusId


def signer(seed: bytes = b"corpus tests only, no real key!!") -> Signer:
    """A signer whose private key stands here, so that anybody can sign like it."""
    return Signer(Ed25519PrivateKey.from_private_bytes(seed))


SIGNER = signer()
TRUST = TrustStore.of(SIGNER)


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


def write_small(path: Path, *, signer: Signer | None = None, plain: bytes | None = None) -> CorpusId:
    """A corpus in which no section is empty."""
    plain = noise(40_000) if plain is None else plain
    with IndexedCorpusWriter(path, chunking=ChunkParams(1024), signer=signer) as writer:
        half = len(plain) // 2
        writer.append(plain[:half], anchors=[512, half - 7])
        writer.append(plain[half:])
        writer.note_member(path_hash(b"usr/lib/libssl.so.3"), 512)
        writer.note_member(path_hash(b"usr/lib/libssl.so.11"), half - 7)
        writer.note_member(path_hash(b"etc/passwd"), 0)
        return writer.finish(dictionary=b"not a real dictionary", info=CorpusInfo("small", {"origin": "tests"}))
