"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


def _open_unnamed(directory: Path, mode: int) -> int | None:
    """A descriptor of a file without a name, or None where that cannot be had or could not be named later."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR, mode)
    except OSError:
        return None


class AtomicFile:
    """A new file under no name until `publish`; whatever happens before then leaves nothing behind.

    Uses ``O_TMPFILE``, so that even a killed process leaves no partial file; where the file system lacks it,
    a hidden ``.<name>.<random>.partial`` in the same directory, removed by `discard`.
    """

    def __init__(self, path: str | os.PathLike[str], mode: int = 0o644, *, durable: bool = True) -> None:
        self.path = Path(path)
        self._durable = durable
        self._hidden: Path | None = None
        directory = self.path.parent
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _open_unnamed(directory, mode)
        if descriptor is None:
            self._hidden = self._sibling()
            descriptor = os.open(self._hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        self.file: BinaryIO = os.fdopen(descriptor, "w+b", buffering=1 << 20)

    def _sibling(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}.partial")

    def publish(self) -> None:
        """Gives the content its name, replacing a file that has it; made durable before unless that was declined."""
        self.file.flush()
        if self._durable:
            os.fsync(self.file.fileno())
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self._hidden is None:
                # Naming a directory descriptor makes CPython call linkat with AT_SYMLINK_FOLLOW, as open(2)
                # shows for O_TMPFILE; without one it calls link, which would link the symbolic link in /proc.
                hidden = self._sibling()
                os.link(f"/proc/self/fd/{self.file.fileno()}", hidden, src_dir_fd=directory)
                self._hidden = hidden
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


def copy_file(source: Path, target: Path) -> None:
    """A copy of ``source`` at ``target`` that appears whole or not at all."""
    with AtomicFile(target) as file, source.open("rb") as content:
        shutil.copyfileobj(content, file.file, 1 << 20)
        file.publish()
