"""The kernel builds without Python's headers, free of warnings, into a module for every CPython from 3.11 on."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    "cext",
    "reducto",
    "sidecar",
    "corpus_builder",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "NOTICE",
]

# Loads the module by its file, so that the installed kernel cannot stand in for it, and has it compute.
PROBE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("reducto._kernel", sys.argv[1])
kernel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernel)
name = b"usr/lib/libexample.so.1"
print(kernel.lib.rdk_path_hash(name, len(name)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources against our own declarations of the stable ABI."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "_kernel*.c"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(path, source / name)
    environment = {**os.environ, "REDUCTO_STABLE_ABI_HEADERS": "1", "CFLAGS": "-Werror"}
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    done = subprocess.run(build, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_is_for_every_later_python(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name


@pytest.mark.slow
def test_module_built_without_python_headers_computes_the_same(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.startswith("reducto/_kernel"))
        module = archive.extract(name, tmp_path)
    installed = next((ROOT / "reducto").glob("_kernel*.so"))
    answers = [
        subprocess.run([sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, check=True).stdout
        for path in (module, installed)
    ]
    assert answers[0] == answers[1] != ""
