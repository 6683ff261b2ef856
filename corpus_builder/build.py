"""Makes a corpus out of sources: counts every chunk, decides which ones are kept, and writes those.

Sources are read twice, because the worth of a chunk is known only after all sources were counted. Sources that the
catalogue marks as done are not read at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from corpus_builder.catalogue import Catalogue, ChunkEntry
from corpus_builder.cutting import Cut, cut
from corpus_builder.part_writer import PartOptions, PartWriter
from corpus_builder.ranking import BudgetPlan
from corpus_builder.sources import PlainSource
from corpus_builder.targets import Targets
from reducto.errors import UsageError

Advance = Callable[[str, int], None]
"""Called with the name of the phase and the number of plain bytes that were read since the last call."""

#: Bytes that are set aside in a size limit for a file's header, dictionary, info and manifest.
_FILE_OVERHEAD_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The options of a build. ``max_bytes`` limits the length of all corpus files together; None means no limit."""

    parts: PartOptions
    max_bytes: int | None = None
    targets: Targets | None = None


@dataclass
class BuildReport:
    """The result of a build. Bytes are plain bytes, except ``file_bytes``, the length of all corpus files."""

    sources: int
    sources_known: int = field(default=0, init=False)
    input_bytes: int = field(default=0, init=False)
    distinct_bytes: int = field(default=0, init=False)
    kept_bytes: int = field(default=0, init=False)
    left_out_bytes: int = field(default=0, init=False)
    chunks_kept: int = field(default=0, init=False)
    file_bytes: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    optimized: dict[str, Any] | None = field(default=None, init=False)
    parts: list[dict[str, Any]] = field(default_factory=list, init=False)

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


def build(
    sources: Sequence[PlainSource], catalogue: Catalogue, options: BuildOptions, advance: Advance = lambda *_: None
) -> BuildReport:
    """Adds the chunks of ``sources`` that the catalogue's corpus lacks to it. Raises `UsageError` without sources.

    A build that is interrupted at any moment leaves complete files only, and the same call continues it.
    """
    if not sources:
        raise UsageError("there is nothing to build a corpus from")
    started = time.monotonic()
    report = BuildReport(len(sources))
    new_sources = _count(sources, catalogue, options, report, advance)
    _write(new_sources, catalogue, options, report, advance)
    for identity, _ in new_sources:
        catalogue.done(identity)
    report.file_bytes = sum(part.path.stat().st_size for part in catalogue.parts)
    report.left_out_bytes = max(report.distinct_bytes - report.kept_bytes, 0)
    report.seconds = round(time.monotonic() - started, 3)
    return report


_NewSources = list[tuple[str, PlainSource]]


def _count(
    sources: Sequence[PlainSource], catalogue: Catalogue, options: BuildOptions, report: BuildReport, advance: Advance
) -> _NewSources:
    """Counts the chunks of all sources that were not counted yet.

    Returns the sources that are not done, each after its identity.
    """
    distinct: dict[str, PlainSource] = {}
    weights: Counter[str] = Counter()
    for source in sources:
        identity = source.identity
        distinct.setdefault(identity, source)
        weights[identity] += source.weight
    states = {identity: catalogue.source(identity) for identity in distinct}
    # Sources that an interrupted build began are counted first, because a chunk remembers only the last source that
    # counted it: a later source in between would make the chunk count twice for the interrupted one.
    for identity in sorted(distinct, key=lambda identity: states[identity] is None):
        source, state = distinct[identity], states[identity]
        if state is not None and state.counted:
            continue
        number = catalogue.begin(identity, source.name)
        for piece in cut(source, options.parts.chunking):
            catalogue.note(number, weights[identity], piece.chunks)
            report.input_bytes += len(piece.data)
            advance("counting", len(piece.data))
        catalogue.counted(identity)
    new_sources = [(i, source) for i, source in distinct.items() if not ((state := states[i]) and state.done)]
    report.sources_known = len(sources) - len(new_sources)
    return new_sources


def _write(
    new_sources: _NewSources, catalogue: Catalogue, options: BuildOptions, report: BuildReport, advance: Advance
) -> None:
    plan = _plan(catalogue, options, report)
    targets = options.targets
    with_targets = targets.measure() if targets else None
    writer = PartWriter(catalogue, options.parts, report.distinct_bytes)
    try:
        for _, source in new_sources:
            writer.start_source()
            selection = with_targets.start_source() if with_targets else None
            for piece in cut(source, options.parts.chunking):
                writer.note_members(piece.members)
                wanted = selection.wanted(piece) if selection else None
                _write_cut(piece, wanted, plan, catalogue, writer, report)
                advance("writing", len(piece.data))
        writer.finish()
    finally:
        writer.close()
    if with_targets:
        report.optimized = with_targets.to_json()
    report.parts = [
        {"path": str(p.path), "id": p.corpus_id, "file_bytes": p.path.stat().st_size} for p in writer.published
    ]


def _plan(catalogue: Catalogue, options: BuildOptions, report: BuildReport) -> BudgetPlan:
    def candidates() -> Iterator[ChunkEntry]:
        for _, entry in catalogue.all_entries():
            if not catalogue.is_published(entry):
                report.distinct_bytes += entry.length
                yield entry

    if options.max_bytes is None:
        report.distinct_bytes = 0
        for _ in candidates():
            pass
        return BudgetPlan(catalogue.newest_source)
    published_bytes = sum(part.path.stat().st_size for part in catalogue.parts)
    budget = options.max_bytes - published_bytes - _FILE_OVERHEAD_BYTES
    return BudgetPlan.fit(candidates(), catalogue.newest_source, budget)


def _write_cut(
    piece: Cut,
    wanted: Sequence[bool] | None,
    plan: BudgetPlan,
    catalogue: Catalogue,
    writer: PartWriter,
    report: BuildReport,
) -> None:
    """Writes the chunks of one cut that are not published yet, that target data would use, and that the plan keeps."""
    entries = catalogue.entries([chunk.fingerprint for chunk in piece.chunks])
    marked: dict[int, ChunkEntry] = {}
    for number, (chunk, entry) in enumerate(zip(piece.chunks, entries, strict=True)):
        if entry is None:
            raise UsageError("a source changed while the corpus was built")
        if chunk.fingerprint in marked or catalogue.is_published(entry) or entry.part == writer.number > 0:
            continue
        if (wanted is not None and not wanted[number]) or not plan.keeps(entry):
            continue
        writer.add(piece, chunk)
        entry.part = writer.number
        marked[chunk.fingerprint] = entry
        report.kept_bytes += chunk.length
        report.chunks_kept += 1
    catalogue.put(marked)
