"""Runs the codec's and other commands as processes, and measures seconds and memory beyond mapped corpora."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.reader import Corpus
from reducto.kernel.chunking import TarWalk

REDUCTO = (sys.executable, "-m", "reducto")
_SAMPLE_SECONDS = 0.02
_PIECE_BYTES = 4 << 20
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")


@dataclass(frozen=True)
class Run:
    """One process: wall and processor seconds, and its peak memory without mapped ``.rc`` files if that was watched."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def children_seconds() -> float:
    """User and system processor seconds of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(*command: str | Path, stdout: Path | None = None, watch_memory: bool = False) -> Run:
    """Runs ``command`` to its end and raises if it fails. ``stdout`` receives its output.

    A process whose memory is watched runs slower, because the system walks its page tables at every sample.
    """
    before = children_seconds()
    started = time.monotonic()
    with open(stdout or "/dev/null", "wb") as out:
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=subprocess.PIPE)
        peak = _Peak(process.pid) if watch_memory else None
        _, errors = process.communicate()
    seconds = time.monotonic() - started
    if peak is not None:
        peak.stop()
    if process.returncode:
        raise RuntimeError(f"{command}: {errors.decode(errors='replace')[-2000:]}")
    used = children_seconds() - before
    return Run(seconds, used, peak.bytes if peak is not None else 0)


class _Peak:
    """Samples a process's resident memory."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._smaps = Path(f"/proc/{pid}/smaps")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            try:
                self.bytes = max(self.bytes, _resident(self._smaps.read_text()))
            except (OSError, ProcessLookupError):
                return

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def _resident(smaps: str) -> int:
    total, counted = 0, True
    for line in smaps.splitlines():
        if match := _MAPPING.match(line):
            counted = not match[1].endswith(".rc")
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1]) << 10
    return total


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder on a disk that has space for disk images."""
    with TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as name:
        yield Path(name)


def corpus_of(plain: Path, target: Path) -> Path:
    """Writes an unsigned corpus of all bytes of ``plain`` in their order."""
    with IndexedCorpusWriter(target) as writer, plain.open("rb") as file:
        walk = TarWalk()
        while piece := file.read(_PIECE_BYTES):
            start = writer.plain_length
            edges = []
            for header, content, _, path_hash in walk.feed(piece):
                if header >= start:
                    writer.note_member(path_hash, header)
                edges += [edge for edge in (header, content) if start < edge <= start + len(piece)]
            writer.append(piece, edges)
        writer.finish()
    return target


def best(runs: Sequence[Run]) -> Run:
    """The run with the fewest seconds, which other work on the machine slowed down least."""
    return min(runs, key=lambda each: each.seconds)


def open_corpus(path: Path) -> Corpus:
    """Opens an unsigned corpus."""
    return Corpus.open(path, allow_unsigned=True)
