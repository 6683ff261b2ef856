"""Similar corpora without a chunk in common: logs of two days, whose lines differ in their times."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from reducto.codec import BlobEncoder, EncodeOptions, FixedSelector, Reduced
from reducto.codec.frames import NEED_DELTA_BASE, FrameKind, cut_ranges
from reducto.codec.packed import PackedTable
from reducto.codec.references import ReferenceCorpus
from reducto.codec.similar_base import LEAST_BYTES, extent_near, find_similar_base
from reducto.codec.unpacked import UnpackedCorpus
from reducto.corpus.reader import Corpus
from reducto.kernel.matching import Extent
from reducto.values import ByteRange
from tests.codec.samples import decode, encode, make_corpus, words


def log(day: int, lines: int = 8000) -> bytes:
    """The lines that the same programs write on each day, and a few others."""
    said, clock = random.Random(1), random.Random(day)
    out, second = [], 0.0
    for number in range(lines):
        second += clock.random() / 10
        text = said.randbytes(said.randrange(5, 40)).hex()
        if clock.random() < 0.01:
            out.append(f"2026-03-{day:02} WARNING {clock.random()} retry {number}\n")
        out.append(f"2026-03-{day:02}T{second:012.6f} step {number} {text}\n")
    return "".join(out).encode()


@pytest.fixture
def yesterday(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "yesterday.rc", log(1))


def pack(blob: bytes, references: list[Corpus], spool: Path, options: EncodeOptions) -> tuple[bytes, Reduced]:
    encoder = BlobEncoder(FixedSelector(references), spool, options)
    encoder.feed(blob)
    reduced = encoder.finish()
    assert isinstance(reduced, Reduced)
    assert reduced.packed_corpus is not None
    packed = reduced.packed_corpus.read_bytes()
    encoder.close()
    return packed, reduced


@pytest.mark.parametrize("level", [1, 3, 9])
def test_todays_log_is_stored_as_what_is_new_in_it(level: int, yesterday: Corpus, tmp_path: Path) -> None:
    """The gate accepts it, although no chunk of it is known."""
    options = EncodeOptions(compression_level=level)
    alone = encode(log(2), [], tmp_path, options)
    against = encode(log(2), [yesterday], tmp_path, options)
    assert isinstance(alone, bytes)
    assert isinstance(against, bytes)
    assert len(against) < 0.5 * len(alone)
    assert decode(against, [yesterday], tmp_path) == log(2)
    assert decode(against, [yesterday], tmp_path, ByteRange(300_000, 300_100)) == log(2)[300_000:300_100]


def test_nothing_is_copied_and_the_similar_corpus_is_needed(yesterday: Corpus, tmp_path: Path) -> None:
    packed, reduced = pack(log(2), [yesterday], tmp_path, EncodeOptions(inline_bytes=0))
    assert reduced.receipt.copied_bytes == 0
    assert reduced.needs == (yesterday.id,)
    assert {frame.kind for frame in PackedTable.parse(packed)[0].frames} <= set(NEED_DELTA_BASE)


def test_an_unlike_corpus_is_not_needed(tmp_path: Path) -> None:
    stranger = make_corpus(tmp_path / "stranger.rc", words(700_000, seed=3))
    packed, reduced = pack(log(2), [stranger], tmp_path, EncodeOptions(inline_bytes=0))
    assert reduced.needs == ()
    assert [frame.kind for frame in PackedTable.parse(packed)[0].frames] == [FrameKind.LITERAL]


def test_the_similar_corpus_among_others_is_found(yesterday: Corpus, tmp_path: Path) -> None:
    stranger = ReferenceCorpus(make_corpus(tmp_path / "stranger.rc", words(700_000, seed=3)))
    assert find_similar_base([stranger, ReferenceCorpus(yesterday)], log(2), 0, 9) == 2
    assert find_similar_base([stranger], log(2), 0, 9) is None
    assert find_similar_base([], log(2), 0, 9) is None


def test_references_are_tried_once_and_not_for_little(
    yesterday: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    monkeypatch.setattr("reducto.codec.frame_builder.find_similar_base", lambda *given: tried.append(len(given[1])))
    options = EncodeOptions(inline_bytes=0, frame_bytes=200_000)
    pack(log(2), [yesterday], tmp_path, options)
    assert tried == [200_000]
    encode(log(2)[: LEAST_BYTES - 1], [yesterday], tmp_path, options)
    assert len(tried) == 1


def test_long_logs_are_cut_and_lie_beside_the_same_place(
    yesterday: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reducto.codec.frame_builder.DIFFERENCE_LIMIT_BYTES", 200_000)
    monkeypatch.setattr("reducto.codec.frame_builder._BASES_LIMIT_BYTES", 300_000)
    packed, _ = pack(log(2), [yesterday], tmp_path, EncodeOptions(inline_bytes=0))
    frames = PackedTable.parse(packed)[0].frames
    assert [frame.plain_length for frame in frames[:-1]] == [200_000] * (len(frames) - 1)
    assert [(base.offset, base.length) for frame in frames[:2] for base in frame.bases] == [
        (0, 300_000),
        (150_000, 300_000),
    ]
    unpacked = UnpackedCorpus(memoryview(packed), {yesterday.id: yesterday}, tmp_path)
    assert unpacked.view(0, unpacked.plain_length) == log(2)


def test_places_in_a_reference(yesterday: Corpus) -> None:
    references, whole = [ReferenceCorpus(yesterday)], yesterday.plain_length
    assert extent_near(references, 1, 0, 10, whole + 1) == Extent(1, 0, whole)
    assert extent_near(references, 1, 5000, 100, 1000) == Extent(1, 4550, 1000)
    assert extent_near(references, 1, 2 * whole, 100, 1000) == Extent(1, whole - 1000, 1000)


@pytest.mark.parametrize("most", [1, 3, 5, 100])
def test_cutting_ranges(most: int) -> None:
    ranges = (ByteRange(2, 5), ByteRange(9, 10), ByteRange(20, 27))
    parts = cut_ranges(ranges, most)
    assert [at for part in parts for span in part for at in range(span.start, span.stop)] == [
        at for span in ranges for at in range(span.start, span.stop)
    ]
    assert all(sum(map(len, part)) == most for part in parts[:-1])
