"""The folder where built data sets are kept, and the rule by which one is complete or absent.

A data set is a folder. It is built under a temporary name and renamed when it is whole, so that a
folder that carries its own name can be used as it is. Builders are serialised per data set by a file
lock: two test runs that want the same one build it once.
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
    """A named folder of real data: what it is, how it is made (``build(folder)``)."""

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
        """Its folder, built now where it is missing (minutes; needs root and the package registries)."""
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
    """Decorator that makes ``builder`` known as data set ``name``."""

    def decorate(builder: Builder) -> Builder:
        _REGISTRY[name] = Dataset(name, summary, builder)
        return builder

    return decorate


def dataset(name: str) -> Dataset:
    """The data set of that name; ``KeyError`` names the ones there are."""
    known = datasets()
    if name not in known:
        raise KeyError(f"no data set {name!r}; there are: {', '.join(known)}")
    return known[name]


def datasets() -> dict[str, Dataset]:
    """All data sets by name, in the order in which they are worth building."""
    from tests.bench.data import recipes  # imports every module that registers one

    assert recipes.LOADED
    return dict(_REGISTRY)


def data_root() -> Path:
    """``${REDUCTO_BENCH_DATA}`` or ``~/.cache/reducto-bench``."""
    return Path(os.environ.get("REDUCTO_BENCH_DATA") or Path.home() / ".cache" / "reducto-bench")


def say(message: str) -> None:
    """Progress for whoever waits, on standard error."""
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
