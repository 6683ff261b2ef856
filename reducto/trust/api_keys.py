"""API keys of the control port, with scopes. They are stored as hashes.

A token is ``rdk_<id>_<secret>``: 8 characters that name it in lists and logs, and 32 random bytes in base64url.
The SHA-256 of the whole token under a domain is stored. A slow hash (scrypt, Argon2) protects passwords that can be
guessed. 256 random bits cannot be guessed at any speed, and with a fast hash nobody can keep the sidecar busy with
wrong tokens.

The file is JSON: ``{"version": 1, "keys": [{"id", "name", "hash", "scopes", "created", "expires"}]}``.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from reducto.errors import UsageError

VERSION = 1
_TOKEN = re.compile(r"rdk_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class ApiScope(enum.StrEnum):
    """What a key may do on the control port."""

    READ = "read"  # status, reports, receipts
    WRITE = "write"  # reduce and rebuild data through the API
    ADMIN = "admin"  # maintenance: collect garbage, rehydrate, recompress


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as the file holds it. The token cannot be computed from ``token_hash``."""

    key_id: str
    name: str
    token_hash: str
    scopes: frozenset[ApiScope]
    created: datetime
    expires: datetime | None = None

    @classmethod
    def create(cls, name: str, scopes: Iterable[ApiScope], expires: datetime | None = None) -> tuple[Self, str]:
        """A new key, and its token, which is stored nowhere and must be shown now. Raises `UsageError`."""
        key_id = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        token = f"rdk_{key_id}_{secrets.token_urlsafe(32)}"
        chosen = frozenset(scopes)
        if not chosen or not name.strip():
            raise UsageError("an API key needs a name and at least one scope")
        return cls(key_id, name.strip(), hash_token(token), chosen, datetime.now(UTC), expires), token

    def to_json(self) -> dict[str, Any]:
        """The key as the file holds it."""
        return {
            "id": self.key_id,
            "name": self.name,
            "hash": self.token_hash,
            "scopes": sorted(self.scopes),
            "created": self.created.isoformat(timespec="seconds"),
            "expires": self.expires.isoformat(timespec="seconds") if self.expires else None,
        }

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Self:
        """The key that `to_json` gave. Raises `UsageError`."""
        try:
            expires = item.get("expires")
            if not _HASH.fullmatch(item["hash"]):
                raise ValueError("hash")
            return cls(
                key_id=str(item["id"]),
                name=str(item["name"]),
                token_hash=item["hash"],
                scopes=frozenset(ApiScope(scope) for scope in item["scopes"]),
                created=_time(item["created"]),
                expires=_time(expires) if expires else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"an API key's entry is damaged: {error}") from None


class ApiKeys:
    """The keys of one file. Immutable."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = {key.key_id: key for key in keys}

    def __iter__(self) -> Any:
        return iter(self._keys.values())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The keys of a file's text. Raises `UsageError`."""
        try:
            document = json.loads(text)
            version, items = document["version"], document["keys"]
        except (ValueError, KeyError, TypeError):
            raise UsageError("this is not a file of API keys; make one with reducto keys api create") from None
        if version != VERSION or not isinstance(items, list):
            raise UsageError(f"API keys of version {version!r} need a newer Reducto")
        return cls(ApiKey.from_json(item) for item in items)

    def to_text(self) -> str:
        """The file's text; `parse` gives the keys back."""
        return json.dumps({"version": VERSION, "keys": [key.to_json() for key in self]}, indent=2) + "\n"

    def with_key(self, key: ApiKey) -> Self:
        """These keys and one more."""
        return type(self)([*self, key])

    def without(self, key_id: str) -> Self:
        """These keys without one. Raises `UsageError` when it is not among them."""
        if key_id not in self._keys:
            raise UsageError(f"there is no API key {key_id[:32]!r}; reducto keys api list shows them")
        return type(self)(key for key in self if key.key_id != key_id)

    def find(self, token: str, now: datetime | None = None) -> ApiKey | None:
        """The key with this token, or None if there is none or it has expired."""
        match = _TOKEN.fullmatch(token)
        key = self._keys.get(match[1]) if match else None
        if key is None or not hmac.compare_digest(key.token_hash, hash_token(token)):
            return None
        return None if key.expires and (now or datetime.now(UTC)) > key.expires else key


def hash_token(token: str) -> str:
    """The hash of a token that is stored."""
    return "sha256:" + hashlib.sha256(b"reducto api key v1\0" + token.encode()).hexdigest()


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
