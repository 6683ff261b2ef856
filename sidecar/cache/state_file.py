"""A small file of what is known by repository; it outlives the process and may be lost at any time.

    {"version": 1, "repositories": {"team/app": ...}}

What stands for a repository is its user's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from reducto.errors import ReductoError
from reducto.files import write_atomically
from reducto.oci.names import RepositoryName
from sidecar.runtime import logs

T = TypeVar("T")


class StateFile:
    """One file. Its reads and writes are for workers, and never fail: a disk that does not help costs only time."""

    def __init__(self, path: Path, version: int) -> None:
        self._path = path
        self._version = version

    def read(self, parse: Callable[[Any], T]) -> dict[RepositoryName, T]:
        """What an earlier process wrote; nothing where ``parse`` or the file fails."""
        for part in self._path.parent.glob(f".{self._path.name}.*"):
            part.unlink()  # of a process that was killed as it wrote
        try:
            found = json.loads(self._path.read_bytes())
            if found["version"] != self._version:
                raise ValueError(f"version {found['version']}")
            return {RepositoryName.parse(name): parse(value) for name, value in found["repositories"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ReductoError, ValueError, LookupError, TypeError, AttributeError) as error:
            logs.event("hints-unreadable", path=str(self._path), error=str(error)[:200])
            return {}

    def encode(self, repositories: Mapping[RepositoryName, Any]) -> bytes:
        """The file's bytes; empty values are left out."""
        kept = {str(name): value for name, value in repositories.items() if value}
        return json.dumps({"version": self._version, "repositories": kept}, indent=1).encode()

    def write(self, data: bytes) -> None:
        """Puts what `encode` gave in place of what was there."""
        try:
            write_atomically(self._path, data)
        except OSError as error:
            logs.event("hints-not-kept", path=str(self._path), error=str(error)[:200])
