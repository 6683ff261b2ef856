"""Runs of the codec's commands and their peers as processes: seconds, and memory beyond mapped corpora."""

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
    """One process: wall and processor seconds; if watched, the most memory it held apart from mapped ``.rc`` files."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def children_seconds() -> float:
    """Processor seconds, the system's among them, of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(*command: str | Path, stdout: Path | None = None, watch_memory: bool = False) -> Run:
    """Runs ``command`` to its end; its failure is an error here. ``stdout`` takes what it prints.

    A process whose memory is watched is slower: the system walks its page tables again and again.
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
    """Watches a process's resident memory."""

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
    """A folder with room for disk images, gone afterwards."""
    with TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as name:
        yield Path(name)


def corpus_of(plain: Path, target: Path) -> Path:
    """An unsigned corpus that holds all of ``plain`` in its order."""
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
    """The run that was disturbed least."""
    return min(runs, key=lambda each: each.seconds)


def open_corpus(path: Path) -> Corpus:
    """An unsigned corpus."""
    return Corpus.open(path, allow_unsigned=True)
