"""Makes Debian roots by debootstrap from the mirrors that this machine's apt uses."""

import subprocess
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.process import run

RELEASE = "bookworm"


@cache
def mirrors() -> dict[str, str]:
    """Suite -> mirror, such as ``{"bookworm": ..., "bookworm-security": ...}``, from apt's configuration."""
    listing = run("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages")
    return dict(line.split() for line in listing.splitlines() if line.startswith(RELEASE))


def sources_list(*suites: str) -> str:
    """The text of a sources.list with those suites, ``main`` only."""
    return "".join(f"deb {mirrors()[suite]} {suite} main\n" for suite in suites)


def make_root(root: Path, *packages: str) -> None:
    """Makes a minimal Debian at its release state, before any security update, as a base image begins with."""
    more = [f"--include={','.join(packages)}"] if packages else []
    run("debootstrap", "--variant=minbase", *more, RELEASE, root, mirrors()[RELEASE], timeout_seconds=1200)
    (root / "etc/apt/sources.list").write_text(sources_list(RELEASE))


def in_root(root: Path, *argv: str) -> str:
    """Runs a program inside that root, with this machine's network."""
    (root / "etc/resolv.conf").write_bytes(Path("/etc/resolv.conf").read_bytes())
    (root / "etc/hosts").write_bytes(Path("/etc/hosts").read_bytes())
    environment = {
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    return run("chroot", root, *argv, env=environment, timeout_seconds=1800)


def tar_root(root: Path, archive: Path) -> None:
    """Writes that root as an uncompressed tar, in the order of the names."""
    with archive.open("wb") as out:
        subprocess.run(
            ["tar", "-C", str(root), "--sort=name", "--one-file-system", "--numeric-owner", "-c", "."],
            stdout=out,
            check=True,
        )


def unpack_root(archive: Path, root: Path) -> None:
    """Unpacks a tar that `tar_root` wrote."""
    root.mkdir(parents=True)
    run("tar", "-C", root, "--numeric-owner", "-xf", archive)


class RootLayer:
    """``with RootLayer(root, folder) as layer:`` programs run in a copy-on-write view of ``root``.

    ``layer.changes`` holds their changes in the form of overlayfs.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.changes, self.merged, self._work = folder / "changes", folder / "merged", folder / "work"

    def run(self, *argv: str) -> str:
        return in_root(self.merged, *argv)

    def tar(self, archive: Path) -> None:
        """Writes the changes as a plain layer."""
        tar_root(self.changes, archive)

    def __enter__(self) -> Self:
        for folder in (self.changes, self.merged, self._work):
            folder.mkdir(parents=True)
        options = f"lowerdir={self.root},upperdir={self.changes},workdir={self._work}"
        run("mount", "-t", "overlay", "overlay", "-o", options, self.merged)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run("umount", "--lazy", self.merged)
