"""A scratch directory that belongs to a living process, and vanishes with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path

#: A directory without a lock is younger than this while its process is still making it.
_MAKING_SECONDS = 60.0


class ScratchDirectory:
    """A new directory under ``parent`` that is removed by `close`, or by a later process if this one is killed.

    The process holds a lock on its directory. Each new process removes the directories whose lock nobody holds.
    All methods block, so the sidecar calls them on disk workers. Raises `OSError`.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        self.path = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
        self.path.mkdir()
        self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Removes the directory with everything in it."""
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
            pass  # a living process has it
        finally:
            os.close(descriptor)


def _remove_if_old(entry: Path) -> None:
    """Removes a directory without a lock file, unless its process may still be about to make one.

    An old one was left by a process that was killed while it made or removed the directory.
    """
    with contextlib.suppress(OSError):
        if entry.stat().st_mtime < time.time() - _MAKING_SECONDS:
            shutil.rmtree(entry)
