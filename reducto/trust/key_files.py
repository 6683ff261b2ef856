"""Keys as files and environment variables: reading, writing, rotating.

A private key is PEM PKCS#8 (RFC 5958), mode 0600. A public key is PEM SubjectPublicKeyInfo (RFC 8410) with optional
lines before it, which other PEM readers skip as explanatory text (RFC 7468, section 5.2)::

    State: retired
    Purposes: corpus record
    Not-After: 2027-06-30T00:00:00Z
    -----BEGIN PUBLIC KEY-----
    ...

``openssl genpkey -algorithm ed25519`` and ``openssl pkey -pubout`` write files that are read here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from reducto.errors import UsageError
from reducto.files import write_atomically
from reducto.trust.signatures import KeyState, Purpose, Signer, TrustedKey, TrustStore

PUBLIC_SUFFIX = ".pub.pem"
KEY_FILE_LIMIT_BYTES = 64 * 1024
_BEGIN = "-----BEGIN"


def read_secret(source: str) -> bytes:
    """The content of a secret's source: ``env:NAME``, or the path of a file that others cannot read.

    Raises `UsageError` when it is absent, empty, larger than `KEY_FILE_LIMIT_BYTES` or readable by everybody. Group
    access is allowed, because Kubernetes mounts secrets with the pod's ``fsGroup``.
    """
    if source.startswith("env:"):
        value = os.environ.get(source[4:], "")
        if not value:
            raise UsageError(f"environment variable {source[4:]} is not set or empty; it should hold a key")
        return value.encode()
    path = Path(source.removeprefix("file:"))
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(KEY_FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"key file {path} cannot be read: {error.strerror}") from None
    if mode & 0o007:
        raise UsageError(f"key file {path} is open to everybody (mode {mode:04o}); run chmod 0600 {path}")
    if not content or len(content) > KEY_FILE_LIMIT_BYTES:
        raise UsageError(f"key file {path} has {len(content)} bytes; 1 to {KEY_FILE_LIMIT_BYTES} are expected")
    return content


def load_signer(source: str) -> Signer:
    """The signer whose PEM private key is at ``source`` (see `read_secret`). Raises `UsageError`."""
    try:
        private = load_pem_private_key(read_secret(source), password=None)
    except (ValueError, TypeError):
        raise UsageError(f"{source} does not hold an unencrypted PEM private key") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"{source} holds a key of another kind; an Ed25519 key is needed (reducto keys generate)")
    return Signer(private)


def parse_public_key(text: str, source: str = "") -> TrustedKey:
    """The trusted key in the text of a public PEM file. Raises `UsageError`."""
    preamble, begin, rest = text.partition(_BEGIN)
    try:
        public = load_pem_public_key((begin + rest).encode())
    except ValueError:
        raise UsageError(f"{source or 'the text'} does not hold a PEM public key") from None
    if not isinstance(public, Ed25519PublicKey):
        raise UsageError(f"{source or 'the text'} holds a key of another kind; an Ed25519 key is needed")
    fields = _preamble_fields(preamble, source)
    try:
        return TrustedKey(
            public=public,
            state=KeyState(fields.get("state", KeyState.ACTIVE.value)),
            purposes=frozenset(Purpose(name) for name in fields.get("purposes", " ".join(Purpose)).split()),
            not_after=_parse_time(fields["not-after"]) if "not-after" in fields else None,
            source=source,
        )
    except ValueError as error:
        raise UsageError(f"{source or 'the public key'}: {error}") from None


def _preamble_fields(preamble: str, source: str) -> dict[str, str]:
    known = {"state", "purposes", "not-after", "key-id", "comment"}
    fields = {}
    for line in filter(None, map(str.strip, preamble.splitlines())):
        name, colon, value = line.partition(":")
        if not colon or name.lower() not in known:
            # Unknown lines are refused, because a misspelt "State: revoked" must not leave the key trusted.
            raise UsageError(f"{source or 'the public key'}: line {line[:80]!r} is not one of {sorted(known)}")
        fields[name.lower()] = value.strip()
    return fields


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def format_public_key(key: TrustedKey, comment: str = "") -> str:
    """The text of a public key's file; `parse_public_key` gives the key back."""
    lines = [f"Key-Id: {key.key_id}"]
    if comment:
        lines.append(f"Comment: {' '.join(comment.split())}")
    lines.append(f"State: {key.state.value}")
    if key.purposes != frozenset(Purpose):
        lines.append(f"Purposes: {' '.join(sorted(key.purposes))}")
    if key.not_after is not None:
        lines.append(f"Not-After: {key.not_after.isoformat()}")
    pem = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return "\n".join(lines) + "\n" + pem


def load_trust(sources: Iterable[str | Path]) -> TrustStore:
    """The trusted keys of files, of directories (every ``*.pem`` in them but private keys), or given as PEM text.

    Raises `UsageError` when a source cannot be read, because a revocation must not be missed.
    """
    keys = []
    for source in sources:
        if isinstance(source, str) and _BEGIN in source:
            keys.append(parse_public_key(source))
            continue
        path = Path(source)
        files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
        for file in files:
            try:
                text = file.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"trusted key {file} cannot be read: {error}") from None
            if not (path.is_dir() and "PRIVATE KEY-----" in text):
                keys.append(parse_public_key(text, str(file)))
    return TrustStore(keys)


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The paths of a key pair."""

    private: Path
    public: Path
    signer: Signer


def generate_key(private: Path, comment: str = "", trust_dir: Path | None = None) -> KeyFiles:
    """Writes a new key pair: ``private``, and its public half in ``trust_dir`` (default: beside it).

    The public file's name contains the key id, so that no key overwrites another. Raises `UsageError` when
    ``private`` exists.
    """
    signer = Signer.generate()
    write_private_file(private, _private_pem(signer))
    public = _public_path(private, signer, trust_dir)
    _write_public(public, TrustedKey(signer.public), comment)
    return KeyFiles(private, public, signer)


def rotate_key(private: Path, comment: str = "", trust_dir: Path | None = None) -> tuple[KeyFiles, Path]:
    """Replaces ``private`` by a new key. Returns the new files and the path to which the old private key was moved.

    The old public key is marked retired: what it signed stays good. The new public key is written before the new
    private key, so that after a crash no signature is without its public key.
    """
    old, new = load_signer(str(private)), Signer.generate()
    public = _public_path(private, new, trust_dir)
    _write_public(public, TrustedKey(new.public), comment)
    aside = private.with_name(f"{private.stem}-{old.key_id}.retired{private.suffix}")
    write_private_file(aside, _private_pem(old))
    write_private_file(private, _private_pem(new), replace=True)
    old_public = _public_path(private, old, trust_dir)
    known = parse_public_key(old_public.read_text(), str(old_public)) if old_public.exists() else None
    _write_public(old_public, _retired(old, known), comment)
    return KeyFiles(private, public, new), aside


def _retired(old: Signer, known: TrustedKey | None) -> TrustedKey:
    if known is None:
        return TrustedKey(old.public, KeyState.RETIRED)
    state = KeyState.REVOKED if known.state is KeyState.REVOKED else KeyState.RETIRED
    return TrustedKey(known.public, state, known.purposes, known.not_after)


def _public_path(private: Path, signer: Signer, trust_dir: Path | None) -> Path:
    return (trust_dir or private.parent) / f"{private.stem}-{signer.key_id}{PUBLIC_SUFFIX}"


def _private_pem(signer: Signer) -> bytes:
    return signer.private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_public(path: Path, key: TrustedKey, comment: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_public_key(key, comment))


def write_private_file(path: Path, content: bytes, replace: bool = False) -> None:
    """Writes a secret with mode 0600, durably and in one step.

    Raises `UsageError` when the file exists and ``replace`` is not set.
    """
    try:
        write_atomically(path, content, 0o600, replace=replace)
    except FileExistsError:
        raise UsageError(f"{path} exists; a key is never overwritten (reducto keys rotate)") from None
