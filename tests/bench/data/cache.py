"""The folder in which built data sets are kept. A data set in it is either complete or absent.

A data set is a folder. It is built under a temporary name and renamed when it is complete, so every folder that has
its final name can be used. A file lock per data set makes sure that two test runs build it only once.
"""

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Builder = Callable[[Path], None]


@dataclass(frozen=True)
class Dataset:
    """A named folder of real data, with a description and the function ``build(folder)`` that makes it."""

    name: str
    summary: str
    build: Builder

    @property
    def path(self) -> Path:
        return data_root() / self.name

    @property
    def ready(self) -> bool:
        return self.path.is_dir()

    def ensure(self) -> Path:
        """The data set's folder. If it is missing it is built, which takes minutes, root and the package registries."""
        with _locked(self.name):
            if not self.ready:
                self._build()
        return self.path

    def _build(self) -> None:
        partial = self.path.with_name(f".{self.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        say(f"building {self.name}: {self.summary}")
        started = time.monotonic()
        self.build(partial)
        facts = {"name": self.name, "built": time.strftime("%Y-%m-%d"), "files": _sizes(partial)}
        (partial / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n")
        partial.rename(self.path)
        say(f"built {self.name} in {time.monotonic() - started:.0f} s: {self.path}")


_REGISTRY: dict[str, Dataset] = {}


def register(name: str, summary: str) -> Callable[[Builder], Builder]:
    """A decorator that registers a builder as the data set ``name``."""

    def decorate(builder: Builder) -> Builder:
        _REGISTRY[name] = Dataset(name, summary, builder)
        return builder

    return decorate


def dataset(name: str) -> Dataset:
    """The data set of that name. Raises `KeyError`, which lists all names."""
    known = datasets()
    if name not in known:
        raise KeyError(f"no data set {name!r}; there are: {', '.join(known)}")
    return known[name]


def datasets() -> dict[str, Dataset]:
    """All data sets by name, in the order in which they should be built."""
    from tests.bench.data import recipes  # because importing it imports every module that registers a data set

    assert recipes.LOADED
    return dict(_REGISTRY)


def data_root() -> Path:
    """``${REDUCTO_BENCH_DATA}`` or ``~/.cache/reducto-bench``."""
    return Path(os.environ.get("REDUCTO_BENCH_DATA") or Path.home() / ".cache" / "reducto-bench")


def say(message: str) -> None:
    """Writes a line of progress to standard error."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    data_root().mkdir(parents=True, exist_ok=True)
    with open(data_root() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    named = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    return dict(sorted(named.items())) if len(named) <= 200 else {"files": len(named), "bytes": sum(named.values())}
