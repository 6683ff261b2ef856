"""Compresses frames on workers, proves each, and appends them to a temporary file in the order they were asked for."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reducto.codec.encode_options import EncodeOptions
from reducto.codec.frame_reader import prove_frame
from reducto.codec.frames import (
    Frame,
    FrameKind,
    compress_against,
    compress_dictionary,
    compress_literal,
)
from reducto.codec.new_bytes import NewBytesSpool
from reducto.codec.references import ReferenceCorpus
from reducto.kernel.buffers import copied
from reducto.kernel.matching import OWN, Extent
from reducto.mapped import joined
from reducto.values import ByteRange
from reducto.workers import Submit

# A trained dictionary makes only short data smaller: longer data soon have repeats of their own to refer to.
_DICTIONARY_LIMIT_BYTES = 128 << 10
# Up to 16 MiB of new bytes are compressed at level 9 at least, because that is fast enough here and always beats
# gzip -6. Otherwise a small first layer would be stored as it came and could not serve as a reference for the next one.
_SHORT_LITERAL_BYTES = 16 << 20
_SHORT_LITERAL_LEVEL = 9
# Stored bytes of more than 1 MiB wait for their turn in a file without a name instead of in memory.
_SHORT_STORED_BYTES = 1 << 20
# Frames that are under way or wait for their turn. A waiting frame holds at most 1 MiB of memory: its plain bytes are
# in the spool or in corpora, longer stored bytes in a file.
_IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class _MadeFrame:
    frame: Frame
    stored: bytes | memoryview


class FrameMaker:
    """Makes frames of a blob's new bytes. One thread calls it; with ``submit`` workers compress.

    ``references`` may grow while frames are made: reference number n is item n - 1.
    """

    def __init__(
        self,
        new_bytes: NewBytesSpool,
        references: Sequence[ReferenceCorpus],
        options: EncodeOptions,
        spool_dir: Path,
        submit: Submit | None,
    ) -> None:
        self._new, self.references, self._options = new_bytes, references, options
        self._spool_dir, self._submit = spool_dir, submit
        self._pending: deque[Future[_MadeFrame] | _MadeFrame] = deque()
        self.frames: list[Frame] = []
        """The frames that are done, in order."""
        self.spool: BinaryIO = tempfile.TemporaryFile(dir=spool_dir)  # noqa: SIM115
        """Their stored bytes, one after the other."""

    def add(self, kind: FrameKind, ranges: tuple[ByteRange, ...], bases: tuple[Extent, ...] = ()) -> None:
        """Makes a frame of the new bytes in ``ranges``: a LITERAL, or a DELTA against ``bases``.

        Another kind is stored where that is shorter. Raises `SegmentCorrupt`, `ProofFailed`, `OSError`, also for frames
        that were added before.
        """
        if self._submit is None:
            self._pending.append(self._make(kind, ranges, bases))
        else:
            self._pending.append(self._submit(self._make, kind, ranges, bases))
        self.collect()

    def collect(self) -> None:
        """Takes frames that are done, and waits until at most eight are under way. Raises as `add`."""
        self._collect(_IN_FLIGHT)

    def finish(self) -> None:
        """Waits for all frames; afterwards `frames` and `spool` are complete. Raises as `add`."""
        self._collect(0)
        self.spool.seek(0)

    def used(self) -> set[int]:
        """Numbers of the references that frames need."""
        return {base.reference for frame in self.frames for base in frame.bases} - {OWN}

    def close(self) -> None:
        """Waits for workers that still compress, and drops the temporary file. Idempotent."""
        for item in self._pending:
            if isinstance(item, Future) and not item.cancel():
                item.exception()
        self._pending.clear()
        self.spool.close()

    def _collect(self, in_flight: int) -> None:
        while self._pending and (len(self._pending) > in_flight or _is_made(self._pending[0])):
            item = self._pending.popleft()
            made = item.result() if isinstance(item, Future) else item
            self.frames.append(made.frame)
            self.spool.write(made.stored)

    def _make(self, kind: FrameKind, ranges: tuple[ByteRange, ...], bases: tuple[Extent, ...]) -> _MadeFrame:
        options = self._options
        base: bytes | memoryview = self._joined_bases(bases)
        views = [self._new.mapping[span.start : span.stop] for span in ranges]
        data = views[0] if len(views) == 1 else joined(self._spool_dir, views)
        stored: bytes | memoryview
        if kind is FrameKind.DELTA:
            kind, stored = compress_against(data, base, options.compression_level)
        else:
            level = options.compression_level
            if len(data) <= _SHORT_LITERAL_BYTES:
                level = max(level, _SHORT_LITERAL_LEVEL)
            stored = compress_literal(data, level, options.window_log, options.compression_threads)
            kind, stored, bases, base = self._with_dictionary(data, stored)
        if len(stored) >= len(data):
            kind, stored, bases, base = FrameKind.RAW, data, (), b""
        prove_frame(kind, stored, base, data)
        for span in ranges:
            self._new.forget(span.start, span.stop)
        return _MadeFrame(Frame(kind, ranges, len(stored), bases), self._put_aside(stored))

    def _joined_bases(self, bases: tuple[Extent, ...]) -> memoryview:
        parts = []
        for base in bases:
            corpus = self.references[base.reference - 1].corpus
            parts.append(corpus.view(base.offset, base.length))
        return copied(parts)

    def _put_aside(self, stored: bytes | memoryview) -> bytes | memoryview:
        """``stored`` until its turn comes, in a file without a name if it is longer than 1 MiB."""
        if isinstance(stored, memoryview) or len(stored) <= _SHORT_STORED_BYTES:
            return stored
        return joined(self._spool_dir, [stored])

    def _with_dictionary(
        self, data: bytes | memoryview, stored: bytes
    ) -> tuple[FrameKind, bytes, tuple[Extent, ...], bytes]:
        """The shorter of ``stored`` and what the first useful dictionary of a reference makes of short ``data``."""
        if len(data) <= _DICTIONARY_LIMIT_BYTES:
            for number, reference in enumerate(self.references, 1):
                dictionary = reference.corpus.dictionary
                if not dictionary:
                    continue
                other = compress_dictionary(data, dictionary, self._options.compression_level)
                if len(other) < len(stored):
                    return FrameKind.DICTIONARY, other, (Extent(number, 0, 0),), dictionary
        return FrameKind.LITERAL, stored, (), b""


def _is_made(item: Future[_MadeFrame] | _MadeFrame) -> bool:
    return not isinstance(item, Future) or item.done()
