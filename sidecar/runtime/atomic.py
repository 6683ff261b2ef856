"""Directories that belong to a living process, and functions of `reducto.files`. Blocking: for disk workers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path

from reducto.files import move, open_new, open_read, sync_directory, sync_file, write_atomically

__all__ = [
    "OwnedDirectory",
    "move",
    "open_new",
    "open_read",
    "sync_directory",
    "sync_file",
    "write_atomically",
]

_MAKING_SECONDS = 60.0


class OwnedDirectory:
    """A scratch directory that vanishes with its process, even after kill -9.

    Every process makes its own under ``parent`` and keeps a lock on it; whoever starts next removes those whose
    lock nobody holds.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        self.path = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
        self.path.mkdir()
        self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Removes the directory."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def _remove_abandoned(parent: Path) -> None:
    for entry in parent.iterdir():
        if not entry.is_dir():
            continue
        try:
            descriptor = os.open(entry / ".lock", os.O_RDWR)
        except FileNotFoundError:
            _remove_if_old(entry)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def _remove_if_old(entry: Path) -> None:
    """Without a lock it is being made, or being removed, by somebody else; or by one who was killed at that."""
    with contextlib.suppress(OSError):
        if entry.stat().st_mtime < time.time() - _MAKING_SECONDS:
            shutil.rmtree(entry)
