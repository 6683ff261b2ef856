"""Fuzzes the parsers: ``python -m tests.fuzz SECONDS [TARGET ...]``, one target after the other.

With the package ``atheris`` (libFuzzer for Python) the search follows the code's coverage. Without it inputs are
mutated at random. The first input that fails is written to the working directory and ends the run.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RSS_LIMIT_MIB = 3000


def main(arguments: list[str]) -> int:
    """Runs each target in a process of its own, because libFuzzer ends the process that it runs in."""
    from tests.fuzz.targets import TARGETS

    seconds, names = int(arguments[0]), arguments[1:] or list(TARGETS)
    failed = []
    for name in names:
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", "--one", name, str(seconds)], check=False)
        failed += [name] if done.returncode else []
    print(f"{len(names)} targets, failed: {', '.join(failed) or 'none'}")
    return len(failed)


def search(name: str, seconds: int) -> None:
    """Fuzzes one target. It does not return if an input fails."""
    if importlib.util.find_spec("atheris") is None:
        search_blindly(name, seconds)
        return
    import atheris

    with atheris.instrument_imports(include=["reducto", "sidecar", "tests.fuzz.targets"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS, seed_inputs
    with tempfile.TemporaryDirectory(prefix="reducto-seeds-") as folder:
        for number, seed in enumerate(seed_inputs()[name]):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-max_len=100000", f"-rss_limit_mb={RSS_LIMIT_MIB}", "-timeout=1200"]
        options += ["-print_final_stats=1", f"-artifact_prefix={name}-", "-verbosity=0"]
        atheris.Setup(["fuzz", *options, folder], TARGETS[name])
        atheris.Fuzz()


def search_blindly(name: str, seconds: int) -> None:
    """Fuzzes one target with random mutations, without knowing which code they reach."""
    from tests.fuzz.mutate import mutants
    from tests.fuzz.targets import TARGETS, seed_inputs

    end, runs = time.monotonic() + seconds, 0
    for data in mutants(seed_inputs()[name], seed=time.time_ns()):
        try:
            TARGETS[name](data)
        except BaseException:
            Path(f"{name}-crash").write_bytes(data)
            raise
        runs += 1
        if time.monotonic() > end:
            break
    print(f"{name}: {runs} inputs")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        search(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
