"""A small JSON file of hints by repository. It outlives the process and may be lost at any time.

    {"version": 1, "repositories": {"team/app": ...}}

The value for a repository is defined by the caller.
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
    """One file of hints. It is read and written on workers.

    No method raises for a damaged file or a full disk, because the sidecar works without the hints, only more slowly.
    """

    def __init__(self, path: Path, version: int) -> None:
        self._path = path
        self._version = version

    def read(self, parse: Callable[[Any], T]) -> dict[RepositoryName, T]:
        """The values that an earlier process wrote, each parsed by ``parse``; empty if anything cannot be read."""
        for part in self._path.parent.glob(f".{self._path.name}.*"):
            part.unlink()  # A process that was killed while it wrote left this file.
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
        """The file's bytes for these values. Empty values are left out."""
        filled = {str(name): value for name, value in repositories.items() if value}
        return json.dumps({"version": self._version, "repositories": filled}, indent=1).encode()

    def write(self, data: bytes) -> None:
        """Replaces the file's content by ``data``, the bytes that `encode` gave."""
        try:
            write_atomically(self._path, data)
        except OSError as error:
            logs.event("hints-not-written", path=str(self._path), error=str(error)[:200])
