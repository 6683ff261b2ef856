"""Files that are whole or not there, and directories that belong to a living process. Blocking: for disk workers."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import BinaryIO

_MAKING_SECONDS = 60.0


def write_atomically(path: Path, data: bytes) -> None:
    """``data`` under ``path``: a crash at any moment leaves the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(temporary, "xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def move(source: Path, target: Path) -> None:
    """``source`` becomes ``target``, in one step; by a copy where the two lie on different volumes."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
        try:
            shutil.copyfile(source, temporary)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        source.unlink()


def open_read(path: Path) -> BinaryIO:
    """The file, open for reading bytes."""
    return open(path, "rb")


def open_new(path: Path) -> BinaryIO:
    """A new file, open for writing bytes. Raises `FileExistsError`."""
    return open(path, "xb")


def sync_file(path: Path) -> None:
    """The file's content is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """The directory's entries are on the disk when this returns."""
    sync_file(path)


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
