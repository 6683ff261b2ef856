"""Corpora that are files at hand: found without anything that speaks HTTP."""

from __future__ import annotations

from pathlib import Path

from reducto.errors import UsageError

#: How an address begins.
SCHEMES = ("oci://", "https://", "http://")


def local_files(name: str) -> list[Path]:
    """``name`` itself if it is a file, the ``.rc`` files in it if it is a directory, else nothing.

    Raises `UsageError` for a directory without any.
    """
    if name.startswith(SCHEMES):
        return []
    path = Path(name).expanduser()
    if path.is_dir():
        found = sorted(path.glob("*.rc"))
        if not found:
            raise UsageError(f"{path} holds no .rc files")
        return found
    return [path] if path.is_file() else []
