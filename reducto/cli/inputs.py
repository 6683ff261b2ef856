"""What the codec's commands read: files, directories, standard input, and the corpora to compare them with."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from reducto.directory import directory_tar
from reducto.errors import UsageError

#: Read at a time: what was read is still in a core's own cache when it is looked at.
PIECE_BYTES = 128 << 10

#: Says where the next bytes should be put; None where that is all the same.
Room = Callable[[], memoryview | None]


class Input:
    """Bytes to encode, readable more than once. Standard input is kept in a temporary file for the second time."""

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == "-" else name
        self._path = None if name == "-" else Path(name)
        if self._path is not None and not self._path.exists():
            raise UsageError(f"{name}: no such file or directory")
        self._kept: BinaryIO | None = None

    @property
    def total_bytes(self) -> int | None:
        """How much there is, if that is known beforehand."""
        if self._path is None or not self._path.is_file():
            return None
        return self._path.stat().st_size

    def pieces(self, room: Room = lambda: None) -> Iterator[memoryview | bytes]:
        """All bytes in order; a piece is valid until the next one is asked for. A file's are put into ``room()``."""
        if self._path is not None and self._path.is_dir():
            yield from directory_tar(self._path)
        elif self._path is not None:
            with self._path.open("rb", buffering=0) as file:
                yield from _read(cast(BinaryIO, file), room)
        elif self._kept is not None:
            self._kept.seek(0)
            yield from _read(self._kept, room)
        else:
            self._kept = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
            for piece in _read(sys.stdin.buffer):
                self._kept.write(piece)
                yield piece

    def close(self) -> None:
        """Drops the kept copy. Idempotent."""
        if self._kept is not None:
            self._kept.close()


def _read(file: BinaryIO, room: Room = lambda: None) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(PIECE_BYTES))
    while True:
        place = (room() or buffer)[:PIECE_BYTES]
        count = file.readinto(place)  # type: ignore[attr-defined]
        if not count:
            return
        yield place[:count]


def is_pipe(path: str) -> bool:
    """Whether output to ``path`` is a stream that cannot be replaced when it is complete."""
    return path == "-" or (os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode))
