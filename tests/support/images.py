"""Small images for tests, made of real programs and real files, in versions as two builds would differ."""

import hashlib
import io
import json
import os
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.process import find_tool


@dataclass(frozen=True)
class Layer:
    """The tar bytes of a plain layer."""

    tar: bytes

    @property
    def diff_id(self) -> str:
        return "sha256:" + hashlib.sha256(self.tar).hexdigest()


def layer(files: Iterable[tuple[str, bytes]], mtime: int = 1_700_000_000, mode: int = 0o644) -> Layer:
    """A layer of those files (path without leading slash -> content) and of the folders that they lie in."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        known: set[str] = set()
        for path, content in sorted(files):
            for parent in reversed(Path(path).parents):
                if str(parent) != "." and str(parent) not in known:
                    known.add(str(parent))
                    archive.addfile(_entry(str(parent), mtime, 0o755, tarfile.DIRTYPE))
            entry = _entry(path, mtime, mode, tarfile.REGTYPE)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Layer(buffer.getvalue())


def _entry(name: str, mtime: int, mode: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.mode, entry.type = mtime, mode, kind
    return entry


def write_archive(path: Path, images: Mapping[str, Sequence[Layer]]) -> Path:
    """Writes images by tag in the format of ``docker save`` (manifest.json, configs, layers); returns ``path``."""
    members: dict[str, bytes] = {}
    manifest = []
    for tag, layers in images.items():
        config = _config(layers)
        name = hashlib.sha256(config).hexdigest() + ".json"
        blobs = {f"{each.diff_id[7:]}/layer.tar": each.tar for each in layers}
        members |= {name: config, **blobs}
        manifest.append({"Config": name, "RepoTags": [tag], "Layers": list(blobs)})
    members["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = _entry(name, 0, 0o644, tarfile.REGTYPE)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def _config(layers: Sequence[Layer]) -> bytes:
    created = "2026-01-01T00:00:00Z"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Cmd": ["/bin/busybox"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
        "history": [{"created": created, "created_by": "tests"} for _ in layers],
    }
    return json.dumps(config).encode()


def busybox_layer() -> Layer:
    """A layer with a static busybox, which ``docker run IMAGE /bin/busybox echo hello`` can start."""
    busybox = find_tool("busybox")
    if busybox is None:
        raise FileNotFoundError("busybox (static) is not installed")
    return layer([("bin/busybox", busybox.read_bytes())], mode=0o755)


def library_layer(version: int, limit_bytes: int = 12_000_000) -> Layer:
    """A layer of up to 16 MB of real Python sources and extension modules, in versions as two builds would differ.

    From version to version every mtime changes, one file in twenty gets a new line, and one file is new.
    """
    files: list[tuple[str, bytes]] = []
    total = 0
    for name, content in _library():
        if total > limit_bytes:
            break
        if version > 1 and name.endswith(".py") and len(files) % 20 == 0:
            content = f"# build {version}\n".encode() + content
        files.append((f"app/lib/{name}", content))
        total += len(content)
    files.append((f"app/build-{version}.txt", f"build {version}\n".encode() * 100))
    return layer(files, mtime=1_700_000_000 + 86_400 * version)


@cache
def _library() -> list[tuple[str, bytes]]:
    """The first 16 MB of Python's own sources and extension modules, by name."""
    root = Path(sysconfig.get_path("stdlib"))
    files: list[tuple[str, bytes]] = []
    total = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__"})
        for path in (Path(folder, name) for name in sorted(names) if name.endswith((".py", ".so"))):
            files.append((str(path.relative_to(root)), path.read_bytes()))
            total += len(files[-1][1])
        if total > 16_000_000:
            break
    return files


def application_image(folder: Path, version: int, limit_bytes: int = 12_000_000) -> Path:
    """An archive with an image of two layers that can be started: busybox, and `library_layer` on top of it."""
    layers = [busybox_layer(), library_layer(version, limit_bytes)]
    return write_archive(folder / f"application-{version}.tar", {f"application:{version}": layers})
