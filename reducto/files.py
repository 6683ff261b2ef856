"""Files that appear whole or not at all, and the few other steps on files that reducto and the sidecar share.

Everything here blocks, so the sidecar calls it on its disk workers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

_BUFFER_BYTES = 1 << 20


class AtomicFile:
    """A new file that has no name until `publish`; whatever happens before then leaves nothing behind.

    It is opened with ``O_TMPFILE``, so that even a killed process leaves no partial file. Where the file system lacks
    that, it is a hidden ``.<name>.<random>.partial`` in the same directory, which `discard` removes.

    ``mode`` are the permissions, of which the process's umask still takes some. ``durable`` makes `publish` wait until
    the content and the name are on the disk. Raises `OSError`.
    """

    def __init__(self, path: str | os.PathLike[str], mode: int = 0o644, *, durable: bool = True) -> None:
        self.path = Path(path)
        self._durable = durable
        self._hidden: Path | None = None
        directory = self.path.parent
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _open_unnamed(directory, mode)
        if descriptor is None:
            self._hidden = _hidden_sibling(self.path)
            descriptor = os.open(self._hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        self.file: BinaryIO = os.fdopen(descriptor, "w+b", buffering=_BUFFER_BYTES)

    def publish(self, *, replace: bool = True) -> None:
        """Gives the content its name. If the file is durable, the content is on the disk before.

        A file that has the name is replaced; without ``replace`` it stays and `FileExistsError` is raised.
        """
        self.file.flush()
        if self._durable:
            os.fsync(self.file.fileno())
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self._hidden is None:
                # `link` fails for a name that exists, so a file that may replace another is linked elsewhere first.
                name = _hidden_sibling(self.path) if replace else self.path
                # Naming a directory descriptor makes CPython call linkat with AT_SYMLINK_FOLLOW, as open(2)
                # shows for O_TMPFILE; without one it calls link, which would link the symbolic link in /proc.
                os.link(f"/proc/self/fd/{self.file.fileno()}", name, src_dir_fd=directory)
                self._hidden = name if replace else None
            elif not replace:
                os.link(self._hidden, self.path)
            if replace:
                assert self._hidden is not None
                os.rename(self._hidden, self.path)
                self._hidden = None
            if self._durable:
                os.fsync(directory)
        finally:
            os.close(directory)
            self.discard()

    def discard(self) -> None:
        """Drops the content; does nothing after `publish` or a second time."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self._hidden is not None:
            self._hidden.unlink(missing_ok=True)
            self._hidden = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def write_atomically(path: Path, data: bytes, mode: int = 0o666, *, replace: bool = True) -> None:
    """Writes ``data`` to ``path``: a crash at any moment leaves the old content or the new one, never a part.

    ``mode`` are the permissions before the umask. Without ``replace`` an existing file stays and `FileExistsError` is
    raised.
    """
    with AtomicFile(path, mode) as file:
        file.file.write(data)
        file.publish(replace=replace)


def copy_file(source: Path, target: Path) -> None:
    """Makes ``target`` a copy of ``source`` that appears whole or not at all."""
    with AtomicFile(target) as file, source.open("rb") as content:
        shutil.copyfileobj(content, file.file, _BUFFER_BYTES)
        file.publish()


def link_or_copy(source: Path, target: Path) -> None:
    """Makes ``target`` a hard link to ``source`` in one step, or a durable copy where the file system has no links.

    A file that has the name is replaced.
    """
    temporary = _hidden_sibling(target)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            sync_file(temporary)
        os.replace(temporary, target)
    finally:
        # `rename` does nothing when both names are links to one file already, so the temporary name may remain.
        temporary.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Renames ``source`` to ``target`` in one step; where they lie on different volumes, copies it first.

    A file that has the name is replaced. The content is not made durable.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = _hidden_sibling(target)
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
    """Returns when the file's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Returns when the directory's entries are on the disk."""
    sync_file(path)


def _open_unnamed(directory: Path, mode: int) -> int | None:
    """A descriptor of a file without a name, or None where that cannot be had or could not be named later."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR, mode)
    except OSError:
        return None


def _hidden_sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
