"""Makes a tar stream of a directory in bounded memory. The same tree always gives the same bytes."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from reducto.errors import ReductoError, UsageError

PIECE_BYTES = 1 << 20
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file, directory or link in a tree.

    ``name`` is its path below the root; bytes that are not UTF-8 are escaped as `os.fsdecode` does it.
    """

    path: Path
    name: str
    status: os.stat_result


def walk(root: Path, skip: frozenset[Path] = frozenset()) -> Iterator[TreeEntry]:
    """Everything below ``root`` in tar order: a directory before what is in it, names sorted by their bytes.

    Sockets and paths in ``skip`` are left out. Symbolic links are not followed. Raises `OSError`.
    """
    with os.scandir(root) as scan:
        children = sorted(scan, key=lambda child: os.fsencode(child.name))
    for child in children:
        path = Path(child.path)
        status = child.stat(follow_symlinks=False)
        if stat.S_ISSOCK(status.st_mode) or path in skip:
            continue
        yield TreeEntry(path, child.name, status)
        if stat.S_ISDIR(status.st_mode):
            for entry in walk(path, skip):
                yield TreeEntry(entry.path, f"{child.name}/{entry.name}", entry.status)


def tree_identity(root: Path, skip: frozenset[Path] = frozenset()) -> str:
    """A hash (64 hex digits) over the names, kinds, sizes, modes and modification times in the tree."""
    hasher = blake3()
    for entry in walk(root, skip):
        status = entry.status
        facts = (status.st_mode, status.st_size if stat.S_ISREG(status.st_mode) else 0, status.st_mtime_ns)
        hasher.update(os.fsencode(entry.name) + b"\0" + repr(facts).encode() + b"\0")
    return hasher.hexdigest()


def directory_tar(root: Path, *, keep_times: bool = True, skip: frozenset[Path] = frozenset()) -> Iterator[bytes]:
    """The tree as a POSIX (pax) tar stream without owners, and without times unless ``keep_times``.

    Hard links are stored as files. Raises `UsageError` for a root that is no directory, `ReductoError` when a file
    changes its length while it is read.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a directory")
    for entry in walk(root, skip):
        yield _header(entry, keep_times)
        if stat.S_ISREG(entry.status.st_mode):
            yield from _content(entry)
    yield bytes(2 * _BLOCK)


def _header(entry: TreeEntry, keep_times: bool) -> bytes:
    mode = entry.status.st_mode
    member = tarfile.TarInfo(entry.name)
    member.mode = stat.S_IMODE(mode)
    # The time is cut to whole seconds, because fractions would need an extended header of 1 KiB for each member.
    member.mtime = int(entry.status.st_mtime) if keep_times else 0
    if stat.S_ISREG(mode):
        member.size = entry.status.st_size
    elif stat.S_ISDIR(mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(entry.path)
    elif stat.S_ISFIFO(mode):
        member.type = tarfile.FIFOTYPE
    else:
        member.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
        member.devmajor, member.devminor = os.major(entry.status.st_rdev), os.minor(entry.status.st_rdev)
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(entry: TreeEntry) -> Iterator[bytes]:
    left = entry.status.st_size
    with entry.path.open("rb") as file:
        while left:
            piece = file.read(min(PIECE_BYTES, left))
            if not piece:
                raise ReductoError(f"{entry.path} became shorter while it was read")
            left -= len(piece)
            yield piece
    yield bytes(-entry.status.st_size % _BLOCK)
