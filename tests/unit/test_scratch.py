"""Scratch directories go with the process that made them."""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.runtime.scratch import ScratchDirectory


def test_what_killed_processes_left_goes(tmp_path: Path) -> None:
    """A directory without its lock goes only when it is too old to be in the making."""
    new, old, locked = (tmp_path / name for name in ("new", "old", "locked"))
    for folder in (new, old, locked):
        folder.mkdir()
        (folder / "upload").write_bytes(b"part")
    (locked / ".lock").touch()
    os.utime(old, (1, 1))
    owned = ScratchDirectory(tmp_path)
    assert sorted(path for path in tmp_path.iterdir()) == sorted([new, owned.path])
    owned.close()
    assert list(tmp_path.iterdir()) == [new]
