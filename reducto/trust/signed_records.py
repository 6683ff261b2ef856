"""Signed records: manifests that say who made them, and for which repository.

A record is a JSON manifest in canonical form (sorted keys, no blanks, ASCII). Signing adds three annotations: the
repository, the key id, and the signature over the domain (`reducto.trust.signatures.message`) and the whole manifest
with the first two. So every byte of the record is covered: which digest it rebuilds, from which instructions and
corpora, with which envelopes, in which repository. Ed25519 is deterministic (RFC 8032): the same record gives the same
bytes.

A record that was copied to another repository (`crane cp`, `oras cp`) still names the repository that it was made for.
`Bind` says whether a verifier accepts that. The registry's name is not signed, so that records in a mirror of the same
repositories verify as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from reducto.config.choices import Bind
from reducto.errors import NotReducto, Untrusted
from reducto.trust.signatures import KeyId, Purpose, Signer, TrustStore, message, parse_signature, signature_text

REPOSITORY = "io.reducto.signed.repository"
KEY = "io.reducto.signed.key"
SIGNATURE = "io.reducto.signed.signature"


@dataclass(frozen=True, slots=True)
class Signed:
    """The key that signed a record, and the repository that it was signed for."""

    key_id: KeyId
    repository: str


def sign(manifest: bytes, repository: str, signer: Signer) -> bytes:
    """The manifest, signed for ``repository``; an older signature is replaced. Raises `NotReducto` for non-JSON."""
    document = _parse(manifest)
    notes = document.setdefault("annotations", {})
    notes.pop(SIGNATURE, None)
    notes[REPOSITORY], notes[KEY] = repository, signer.key_id
    notes[SIGNATURE] = signature_text(signer.sign(message(Purpose.RECORD, _encode(document))))
    return _encode(document)


def is_signed(manifest: bytes) -> bool:
    """Whether the manifest has a signature, be it good or not. Raises `NotReducto` for non-JSON."""
    return SIGNATURE in _parse(manifest)["annotations"]


def verify(
    manifest: bytes,
    repository: str,
    trust: TrustStore,
    bind: Bind = Bind.REPOSITORY,
    trusted_origins: Sequence[str] = (),
) -> Signed:
    """The key that signed the manifest in ``repository``, and the repository that it was made for.

    ``trusted_origins`` are patterns of repositories (`promote/*`) whose records may be copied to other repositories.
    Raises `Untrusted` for a record without a good signature, changed in any byte, or made for another repository.
    """
    document = _parse(manifest)
    notes = document["annotations"]
    if SIGNATURE not in notes:
        raise Untrusted(f"the record in {repository} is not signed")
    if _encode(document) != manifest:
        raise Untrusted(f"the record in {repository} is not in the form in which it was signed")
    origin, key_id = notes.get(REPOSITORY), notes.get(KEY)
    signature = parse_signature(notes.pop(SIGNATURE))
    if not isinstance(origin, str) or not isinstance(key_id, str):
        raise Untrusted(f"the record in {repository} does not say who signed it, and for which repository")
    trust.verify(key_id, message(Purpose.RECORD, _encode(document)), signature)
    if origin != repository and bind is Bind.REPOSITORY and not _matches(origin, trusted_origins):
        raise Untrusted(
            f"the record in {repository} was made for {origin}; if it was copied on purpose, name {origin} in "
            f"security.signing.trusted_origins or set security.signing.bind to digest"
        )
    return Signed(KeyId(key_id), origin)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _parse(manifest: bytes) -> dict[str, Any]:
    try:
        document = json.loads(manifest)
        if isinstance(document, dict) and isinstance(document.setdefault("annotations", {}), dict):
            return document
    except (ValueError, RecursionError):
        pass
    raise NotReducto("this manifest is not a Reducto record")


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
