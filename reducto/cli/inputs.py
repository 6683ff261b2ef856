"""The input of the codec's commands: a file, a directory or standard input, as pieces of bytes."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from reducto.directory_tar import directory_tar
from reducto.errors import UsageError

INPUT_HELP = "file to read, directory (packed as a tar), or - for standard input"

#: Bytes per read call. 128 KiB fit into a core's own cache, so the bytes are still there when they are hashed and cut.
PIECE_BYTES = 128 << 10

#: Gives the buffer into which the next bytes should be read, or None if the caller has no such buffer.
WriteBuffer = Callable[[], memoryview | None]


class Input:
    """Bytes to encode that can be read more than once. Standard input is copied to a temporary file for that."""

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == "-" else name
        self._path = None if name == "-" else Path(name)
        if self._path is not None and not self._path.exists():
            raise UsageError(f"{name}: no such file or directory")
        self._copy: BinaryIO | None = None

    @property
    def total_bytes(self) -> int | None:
        """The length of a regular file in bytes; None for a directory or standard input."""
        if self._path is None or not self._path.is_file():
            return None
        return self._path.stat().st_size

    def pieces(self, write_buffer: WriteBuffer = lambda: None) -> Iterator[memoryview | bytes]:
        """All bytes in order, in pieces of at most `PIECE_BYTES` for a file or standard input.

        A piece is valid until the next one is asked for. The bytes of a file are read into the buffer that
        ``write_buffer()`` returns, which saves its owner a copy.
        """
        if self._path is not None and self._path.is_dir():
            yield from directory_tar(self._path)
        elif self._path is not None:
            with self._path.open("rb", buffering=0) as file:
                yield from _read(cast(BinaryIO, file), write_buffer)
        elif self._copy is not None:
            self._copy.seek(0)
            yield from _read(self._copy, write_buffer)
        else:
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
            for piece in _read(sys.stdin.buffer):
                self._copy.write(piece)
                yield piece

    def close(self) -> None:
        """Deletes the copy of standard input. Idempotent."""
        if self._copy is not None:
            self._copy.close()


def _read(file: BinaryIO, write_buffer: WriteBuffer = lambda: None) -> Iterator[memoryview]:
    own_buffer = memoryview(bytearray(PIECE_BYTES))
    while True:
        target = (write_buffer() or own_buffer)[:PIECE_BYTES]
        count = file.readinto(target)  # type: ignore[attr-defined]
        if not count:
            return
        yield target[:count]


def is_pipe(path: str) -> bool:
    """Whether ``path`` is standard output, a pipe or a device, which cannot be replaced as a whole at the end."""
    return path == "-" or (os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode))
