"""``python -m tests.bench [NAME...]``: runs benchmarks, writes their results and pages into docs/benchmarks.

Without names all benchmarks run. On one machine only one run measures at a time; others wait for it.
"""

import argparse
import compileall
import fcntl
import importlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.pages import write_pages
from tests.bench.report import BENCHMARKS, RESULTS, ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="names of the benchmarks to run (default: all)")
    parser.add_argument("--list", action="store_true", help="list all benchmarks")
    parser.add_argument("--strict", action="store_true", help="exit with code 1 if a promised figure does not hold")
    parser.add_argument("--pages", action="store_true", help="make the pages of the present results; measure nothing")
    arguments = parser.parse_args()
    abouts = load_benchmarks()
    if arguments.list:
        print("\n".join(f"{each.name:16} {each.title}" for each in BENCHMARKS.values()))
        return 0
    if arguments.pages:
        write_pages(RESULTS, abouts)
        return 0
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    # SIGTERM must stop the servers and remove the folders of a run, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Compiled as pip compiles what it installs, because Python compiles a checkout at every start where it may write no
    # bytecode, and starts are measured.
    for package in ("reducto", "sidecar", "corpus_builder"):
        compileall.compile_dir(ROOT / package, quiet=1)
    promises_hold = True
    for name in arguments.names or BENCHMARKS:
        with _alone():
            report = BENCHMARKS[name].run()
        print(report.text(), flush=True)
        report.write()
        promises_hold &= all(bar.holds for bar in report.bars)
        write_pages(RESULTS, abouts)
    return 0 if promises_hold or not arguments.strict else 1


def load_benchmarks() -> dict[str, str]:
    """Imports every module with benchmarks; returns what each benchmark is about, by its name."""
    for module in sorted(Path(__file__).parent.glob("bench_*.py")):
        importlib.import_module(f"tests.bench.{module.stem}")
    return {name: each.about for name, each in BENCHMARKS.items()}


@contextmanager
def _alone() -> Iterator[None]:
    with open(Path(tempfile.gettempdir()) / "bench.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another benchmark is running; waiting for its end", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
