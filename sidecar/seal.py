"""Signing of records and encryption of what is stored: the seam that trust settings plug into.

Without keys nothing is sealed (`NoSeal`). All calls block: from workers only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sidecar.names import Repository


class Seal(Protocol):
    """Protects records and blobs of a repository."""

    def sign(self, repository: Repository, manifest: bytes) -> bytes:
        """The record with its signature: valid for this repository and no other. Deterministic."""

    def verify(self, repository: Repository, manifest: bytes) -> None:
        """Returns when a trusted key signed the record. Raises `Untrusted`."""

    def protect(self, repository: Repository, data: bytes) -> bytes:
        """What to store for instructions."""

    def reveal(self, repository: Repository, data: bytes) -> bytes:
        """The instructions again. Raises `KeyUnavailable`, `Corrupt`."""

    def protect_file(self, repository: Repository, path: Path) -> Path:
        """The file to store for a packed corpus: ``path`` itself, or a new file beside it."""

    def reveal_file(self, repository: Repository, path: Path) -> Path:
        """The packed corpus again: ``path`` itself, rewritten in place if need be."""


class NoSeal:
    """Nothing is signed, nothing is encrypted."""

    def sign(self, repository: Repository, manifest: bytes) -> bytes:
        return manifest

    def verify(self, repository: Repository, manifest: bytes) -> None:
        return None

    def protect(self, repository: Repository, data: bytes) -> bytes:
        return data

    def reveal(self, repository: Repository, data: bytes) -> bytes:
        return data

    def protect_file(self, repository: Repository, path: Path) -> Path:
        return path

    def reveal_file(self, repository: Repository, path: Path) -> Path:
        return path
