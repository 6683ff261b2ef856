"""Opens a `.rc` file, maps it, and hands out only bytes that were verified."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from blake3 import blake3

from reducto.corpus.anchors import decode_anchors
from reducto.corpus.corpus_format import (
    HASH_BYTES,
    HASHED_SECTIONS,
    HEADER_BYTES,
    SEGMENT_BYTES,
    CorpusHeader,
    CorpusManifest,
    Section,
    SignatureBlock,
    segment_count,
    signed_message,
)
from reducto.corpus.fingerprint_table import FingerprintTable
from reducto.corpus.info import CorpusInfo
from reducto.corpus.path_index import PathIndex
from reducto.errors import Corrupt, NotReducto, SegmentCorrupt, Untrusted, UsageError
from reducto.kernel.chunking import ChunkParams
from reducto.mapped import Mapped
from reducto.trust.signatures import TrustStore
from reducto.values import ByteRange, CorpusId
from reducto.workers import Submit

#: Segments that one worker verifies as one task.
_VERIFY_BATCH_SEGMENTS = 16
#: Sections from this length on are hashed by several threads.
_PARALLEL_HASH_BYTES = 4 << 20


class Corpus:
    """One mapped corpus. Thread-safe.

    `open` verifies everything but the plain bytes; those are verified segment by segment before `view` first returns
    them. `index`, `hooks` and `paths` are read in the mapping. A view that outlives `close` keeps the mapping alive.
    """

    def __init__(self, path: Path, mapping: mmap.mmap, trust: TrustStore | None, allow_unsigned: bool) -> None:
        self.path = path
        self._mapping = mapping
        self._file = memoryview(mapping)
        self._header = CorpusHeader.parse(self._file[:HEADER_BYTES])
        self._manifest = self._verify_file()
        self.signature = self._verify_signature(trust, allow_unsigned)
        self.signature_checked = self.signature is not None and trust is not None
        self.id: CorpusId = self._manifest.corpus_id
        self.plain_length = self._header[Section.PLAIN].length
        self.plain = self._section(Section.PLAIN)
        """All plain bytes, *unverified*: pass ranges to `ensure` first, or use `view`."""
        self.index = FingerprintTable(self._section(Section.INDEX))
        self.hooks = FingerprintTable(self._section(Section.HOOKS))
        self.paths = PathIndex(self._section(Section.PATHS))
        self.dictionary = bytes(self._section(Section.DICTIONARY))
        self.info = CorpusInfo.parse(self._section(Section.INFO))
        self._verified = bytearray(segment_count(self.plain_length))
        self._closed = False
        for section in (Section.INDEX, Section.HOOKS):
            self._advise_random(section)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        trust: TrustStore | None = None,
        allow_unsigned: bool = False,
        expect: CorpusId | None = None,
        memory_mapped: bool = True,
    ) -> Self:
        """The verified corpus at ``path``.

        It must have a signature that verifies against ``trust``. ``allow_unsigned`` also accepts a corpus without a
        signature, and one whose signature cannot be checked because ``trust`` is None. With ``expect`` the identity
        itself is the proof: a corpus of that identity needs no signature, and any other is refused. Without
        ``memory_mapped`` the whole file is read into memory, for file systems that map badly, such as some network
        shares.

        Raises `NotReducto`, `Corrupt`, `Untrusted`, `UsageError` (no such file).
        """
        try:
            with Path(path).open("rb", buffering=0) as file:
                length = os.fstat(file.fileno()).st_size
                if length == 0:
                    raise NotReducto(f"{path}: not a corpus: the file is empty")
                mapping = _mapped(file, length) if memory_mapped else _copied(file, length)
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot open corpus {path}: {error}") from error
        try:
            corpus = cls(Path(path), mapping, trust, allow_unsigned or expect is not None)
            if expect is not None and corpus.id != expect:
                raise Corrupt(f"it is corpus {corpus.id}, expected was {expect}")
        except (NotReducto, Corrupt, Untrusted) as error:
            raise type(error)(f"{path}: {error}") from None
        return corpus

    # -- plain bytes -----------------------------------------------------------------------------------------

    def view(self, plain_offset: int, length: int) -> memoryview:
        """Exactly ``length`` verified bytes from ``plain_offset``. Raises `Corrupt`, `SegmentCorrupt`."""
        stop = plain_offset + length
        self._check_range(plain_offset, stop)
        first, last = plain_offset // SEGMENT_BYTES, -(-stop // SEGMENT_BYTES)
        if self._verified.find(0, first, last) >= 0:
            self._verify_segments(range(first, last))
        return self.plain[plain_offset:stop]

    def ensure(self, ranges: Iterable[ByteRange], submit: Submit | None = None) -> None:
        """Verifies those of ``ranges`` (plain offsets) that were not verified before; with ``submit`` on workers.

        Afterwards these bytes may be read through `plain`. Raises `Corrupt`, `SegmentCorrupt`.
        """
        wanted: set[int] = set()
        for span in ranges:
            self._check_range(span.start, span.stop)
            wanted.update(range(span.start // SEGMENT_BYTES, -(-span.stop // SEGMENT_BYTES)))
        segments = sorted(i for i in wanted if not self._verified[i])
        if submit is None or len(segments) <= _VERIFY_BATCH_SEGMENTS:
            self._verify_segments(segments)
            return
        batches = range(0, len(segments), _VERIFY_BATCH_SEGMENTS)
        pending: list[Future[None]] = [
            submit(self._verify_segments, segments[at : at + _VERIFY_BATCH_SEGMENTS]) for at in batches
        ]
        for future in pending:
            future.result()

    def verify_all(self, submit: Submit | None = None) -> None:
        """Verifies every plain byte. Raises `SegmentCorrupt`."""
        self.ensure([ByteRange(0, self.plain_length)], submit)

    def _check_range(self, start: int, stop: int) -> None:
        if self._closed:
            raise UsageError(f"corpus {self.path} is closed")
        if not 0 <= start <= stop <= self.plain_length:
            raise Corrupt(f"bytes {start}..{stop} leave corpus {self.id} of {self.plain_length} bytes")

    def _verify_segments(self, segments: Iterable[int]) -> None:
        # Two threads may verify the same segment at once. Both come to the same result, so no lock is needed.
        hashes = self._manifest.segment_hashes
        for index in segments:
            if self._verified[index]:
                continue
            segment = self.plain[index * SEGMENT_BYTES : (index + 1) * SEGMENT_BYTES]
            if blake3(segment).digest() != hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]:
                raise SegmentCorrupt(str(self.id), index)
            self._verified[index] = 1

    # -- everything else, at open ----------------------------------------------------------------------------

    @property
    def chunking(self) -> ChunkParams:
        """The parameters by which the plain bytes were cut into chunks."""
        return self._header.chunking

    @property
    def root(self) -> bytes:
        """The hash over the whole file but its signature (32 bytes)."""
        return self._manifest.root

    @property
    def segment_hashes(self) -> bytes:
        """BLAKE3 of every 1 MiB of the plain bytes, 32 bytes each."""
        return self._manifest.segment_hashes

    def anchors(self) -> Iterator[int]:
        """Plain offsets at which chunks end whatever the content is, ascending. Raises `Corrupt`."""
        return decode_anchors(self._section(Section.ANCHORS), self.plain_length)

    def section_lengths(self) -> dict[str, int]:
        """The length in bytes of every section, by its lower-case name."""
        return {section.name.lower(): self._header[section].length for section in Section}

    def _section(self, section: Section) -> memoryview:
        extent = self._header[section]
        return self._file[extent.offset : extent.stop]

    def _advise_random(self, section: Section) -> None:
        """Tells the system that look-ups read single pages, so that it does not read neighbouring pages ahead."""
        extent = self._header[section]
        start = extent.offset // mmap.PAGESIZE * mmap.PAGESIZE
        if extent.length:
            self._mapping.madvise(mmap.MADV_RANDOM, start, extent.stop - start)

    def _verify_file(self) -> CorpusManifest:
        end = self._header[Section.MANIFEST].stop
        if len(self._file) < end:
            raise Corrupt(f"corpus truncated: {len(self._file)} bytes of at least {end}")
        plain_length = self._header[Section.PLAIN].length
        manifest = CorpusManifest.parse(self._section(Section.MANIFEST), plain_length)
        if blake3(self._file[:HEADER_BYTES]).digest() != manifest.header_hash:
            raise Corrupt("corpus header does not match its BLAKE3 hash")
        before = self._header[Section.PLAIN]
        for section, expected in zip(HASHED_SECTIONS, manifest.section_hashes, strict=True):
            extent = self._header[section]
            if any(self._file[before.stop : extent.offset]):
                raise Corrupt(f"corpus: bytes before its {section.name.lower()} section are not zero")
            if _digest_of_section(self._section(section)) != expected:
                raise Corrupt(f"corpus {section.name.lower()} section does not match its BLAKE3 hash")
            before = extent
        if any(self._file[before.stop : self._header[Section.MANIFEST].offset]):
            raise Corrupt("corpus: bytes before its manifest are not zero")
        return manifest

    def _verify_signature(self, trust: TrustStore | None, allow_unsigned: bool) -> SignatureBlock | None:
        data = self._file[self._header[Section.MANIFEST].stop :]
        if not len(data):
            if not allow_unsigned:
                raise Untrusted("the corpus is not signed; pass --allow-unsigned to use it all the same")
            return None
        block = SignatureBlock.parse(data)
        if trust is not None:
            trust.verify(block.key_id, signed_message(self._manifest.root), block.signature)
        elif not allow_unsigned:
            raise Untrusted(f"the corpus is signed by key {block.key_id!r}, but no trusted keys were given to check it")
        return block

    # -- life ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Refuses new views from now on. The mapping goes with the last view of it. Idempotent."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _digest_of_section(content: memoryview) -> bytes:
    threads = blake3.AUTO if len(content) >= _PARALLEL_HASH_BYTES else 1
    return blake3(content, max_threads=threads).digest()


def _mapped(file: FileIO, length: int) -> mmap.mmap:
    return Mapped(file.fileno(), length, access=mmap.ACCESS_READ)


def _copied(file: FileIO, length: int) -> mmap.mmap:
    """The file's content, read into memory. Raises `OSError` when it is shorter than ``length``."""
    copy = mmap.mmap(-1, length)
    with memoryview(copy) as view:
        at = 0
        while at < length:
            count = file.readinto(view[at:])
            if not count:
                raise OSError("the file became shorter while it was read")
            at += count
    return copy
