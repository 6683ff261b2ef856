"""A blob decodes to what was encoded: with and without similar corpora, around every boundary, from any offset."""

from __future__ import annotations

import gc
import gzip
import io
import random
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reducto.codec import BlobDecoder, BlobEncoder, EncodeOptions, FixedSelector, Instructions, Reduced, hooks_of
from reducto.codec.frame_reader import FrameReader, LongReaders
from reducto.codec.frames import FrameKind, compress_delta, compress_literal
from reducto.codec.packed import PackedTable
from reducto.codec.plain_window import WINDOW_BYTES
from reducto.codec.unpacked import UnpackedCorpus
from reducto.corpus.corpus_format import SEGMENT_BYTES
from reducto.corpus.reader import Corpus
from reducto.errors import CorpusMissing, Corrupt
from reducto.kernel.chunking import path_hash
from reducto.values import ByteRange, Reason, Stored
from tests.codec.samples import EAGER, decode, encode, make_corpus, make_tar, words
from tests.gzip.oracles import go_oracles

SLOW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def round_trip(blob: bytes, corpora: list[Corpus], spool: Path, options: EncodeOptions = EAGER) -> bytes:
    data = encode(blob, corpora, spool, options)
    assert isinstance(data, bytes)
    assert decode(data, corpora, spool) == blob
    return data


@pytest.mark.parametrize("length", [1, 63, 64, 65, 511, 512, 4095, 4096, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1])
def test_lengths_around_boundaries_without_relatives(length: int, tmp_path: Path) -> None:
    round_trip(words(length), [], tmp_path)
    round_trip(random.Random(length).randbytes(length), [], tmp_path)


@pytest.mark.parametrize("delta", [-1, 0, 1])
@pytest.mark.parametrize("windows", [1, 2, 3])
def test_lengths_around_windows(windows: int, delta: int, tmp_path: Path) -> None:
    old = words(windows * WINDOW_BYTES + delta, seed=3)
    corpus = make_corpus(tmp_path / "old.rc", old)
    new = old[: len(old) // 2] + b"something new here" + old[len(old) // 2 :]
    data = round_trip(new[: len(old)], [corpus], tmp_path)
    assert len(data) < 3000


def test_nothing_is_stored_as_it_came(tmp_path: Path) -> None:
    assert encode(b"", [], tmp_path) == Stored(Reason.TOO_SMALL, "no plain bytes")


@SLOW
@given(st.data())
def test_edits_of_a_corpus(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cuts, insertions, moves and repeats of a corpus decode, and cost at most 5,000 bytes for each piece."""
    tmp_path = tmp_path_factory.mktemp("edits")
    old = words(data.draw(st.integers(1, 300_000)), seed=data.draw(st.integers(0, 3)))
    corpus = make_corpus(tmp_path / "old.rc", old)
    pieces: list[bytes] = []
    new_bytes = 0
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(old)))
        pieces.append(old[start : start + data.draw(st.integers(0, 150_000))])
        new = data.draw(st.binary(max_size=2000))
        new_bytes += len(new)
        pieces.append(new)
    blob = b"".join(pieces)
    if not blob or blob.startswith(b"\x1f\x8b"):  # a gzip file that is cut off is stored as it came
        return
    stored = round_trip(blob, [corpus], tmp_path)
    # A piece may begin in the middle of a chunk. The rest of that chunk is new, but has a delta base.
    assert len(stored) < new_bytes + len(pieces) * 5000 + 1500


def test_threads_and_piece_lengths_change_nothing(tmp_path: Path) -> None:
    old = words(3_000_000, seed=5)
    corpus = make_corpus(tmp_path / "old.rc", old)
    new = old[:1_000_000] + words(400_000, seed=6) + old[900_000:]
    expected = encode(new, [corpus], tmp_path)
    with ThreadPoolExecutor(3) as workers:
        for piece in (1 << 20, 77_777, 1 << 16):
            assert encode(new, [corpus], tmp_path, workers=workers, piece=piece) == expected


@pytest.mark.slow
@pytest.mark.parametrize("framed", [False, True])
def test_bytes_in_the_write_buffer_give_the_same_result(framed: bool, tmp_path: Path) -> None:
    old = words(3_000_000, seed=5)
    corpus = make_corpus(tmp_path / "old.rc", old)
    new = old[:1_000_000] + words(2 * WINDOW_BYTES, seed=6) + old[900_000:]
    blob = gzip.compress(new, 1, mtime=0) if framed else new
    encoder, at, put = BlobEncoder(FixedSelector([corpus]), tmp_path, EAGER), 0, 0
    try:
        while at < len(blob):
            buffer = encoder.write_buffer()
            if buffer is None:
                piece: bytes | memoryview = blob[at : at + 100_003]
            else:
                piece = buffer[: min(100_003, len(blob) - at)]
                piece[:] = blob[at : at + len(piece)]
                put += len(piece)
            encoder.feed(piece)
            at += len(piece)
        result = encoder.finish()
        assert isinstance(result, Reduced)
        out = io.BytesIO()
        result.write_file(out)
    finally:
        encoder.close()
    assert out.getvalue() == encode(blob, [corpus], tmp_path)
    assert put == 0 if framed else put > len(blob) - 2 * 100_003


def test_any_range(tmp_path: Path) -> None:
    old = words(1_500_000, seed=7)
    corpus = make_corpus(tmp_path / "old.rc", old)
    new = words(300_000, seed=8) + old[200_000:] + words(200_000, seed=9)
    data = encode(new, [corpus], tmp_path)
    assert isinstance(data, bytes)
    decoder = BlobDecoder(data, {corpus.id: corpus}, tmp_path)
    rng = random.Random(1)
    for _ in range(60):
        start = rng.randrange(len(new) + 1)
        stop = min(len(new), start + rng.choice([0, 1, 700, 70_000, 2_000_000]))
        assert b"".join(decoder.rebuild(ByteRange(start, stop))) == new[start:stop]
    with pytest.raises(Corrupt, match="leaves"):
        list(decoder.rebuild(ByteRange(0, len(new) + 1)))


def test_repeats_inside_one_blob_are_stored_once(tmp_path: Path) -> None:
    block = random.Random(2).randbytes(500_000)
    data = round_trip(block + words(50_000) + block + block, [], tmp_path)
    assert len(data) < 570_000


def test_zeros_cost_nothing(tmp_path: Path) -> None:
    assert len(round_trip(bytes(20_000_000), [], tmp_path)) < 3000


def test_twins_by_place_and_by_path(tmp_path: Path) -> None:
    """A file that changed in many places shares no chunk with its older version, but its path finds the delta base."""
    library = words(200_000, seed=11)
    changed = bytearray(library)
    for at in range(100, len(changed), 1000):
        changed[at] ^= 1
    old = make_corpus(tmp_path / "old.rc", make_tar({"a/readme": b"x" * 9000, "usr/lib/libx.so.1.2": library}))
    near = make_tar({"a/readme": b"x" * 9000, "usr/lib/libx.so.1.3": bytes(changed)}, mtime=1_800_000_000)
    alone = make_tar({"usr/lib/libx.so.2.0": bytes(changed)}, mtime=1_800_000_000)
    plain = encode(bytes(changed), [], tmp_path)
    assert isinstance(plain, bytes)
    for blob in (near, alone):
        assert len(round_trip(blob, [old], tmp_path)) < len(plain) / 10


def test_a_new_version_can_refer_to_the_layer_before(tmp_path: Path) -> None:
    """New bytes become a corpus that unpacks to the same identity and is a reference for the next blob."""
    first, second = words(700_000, seed=12), words(30_000, seed=13)
    base = make_corpus(tmp_path / "base.rc", first)
    encoder = BlobEncoder(FixedSelector([base]), tmp_path, EncodeOptions(gate=False, inline_bytes=0))
    encoder.feed(first[:400_000] + second + first[400_000:])
    reduced = encoder.finish()
    assert isinstance(reduced, Reduced)
    assert reduced.packed_corpus is not None
    packed = reduced.packed_corpus.read_bytes()
    encoder.close()
    unpacked = UnpackedCorpus(memoryview(packed), {base.id: base}, tmp_path)
    unpacked.write_corpus(tmp_path / "layer.rc")
    layer = Corpus.open(tmp_path / "layer.rc", expect=reduced.corpus_id)
    assert layer.plain_length == reduced.receipt.delta_bytes + reduced.receipt.literal_bytes
    data = encode(b"head" + second + first, [base, layer], tmp_path)
    assert isinstance(data, bytes)
    assert decode(data, [base, layer], tmp_path)[4:30_004] == second
    assert Instructions.parse(data).meta.corpora[1:] in ((base.id, layer.id), (layer.id, base.id))


def test_the_first_frame_is_short(tmp_path: Path) -> None:
    """A reader at the beginning waits for the frames of the first segment and for their delta bases."""
    old, other = words(6_000_000), words(6_000_000, seed=2)
    corpus = make_corpus(tmp_path / "old.rc", old)
    new = b"".join(old[at : at + 60_000] + other[at + 60_000 : at + 120_000] for at in range(0, len(old), 120_000))
    encoder = BlobEncoder(FixedSelector([corpus]), tmp_path, replace(EAGER, inline_bytes=0))
    encoder.feed(new)
    reduced = encoder.finish()
    assert isinstance(reduced, Reduced)
    assert reduced.packed_corpus is not None
    frames = PackedTable.parse(reduced.packed_corpus.read_bytes())[0].frames
    encoder.close()
    assert SEGMENT_BYTES <= frames[0].plain_length < SEGMENT_BYTES + 70_000
    assert sum(base.length for base in frames[0].bases) < 4 * SEGMENT_BYTES
    assert len(frames) > 1


def test_decoding_names_the_corpus_that_is_missing(tmp_path: Path) -> None:
    old = words(200_000, seed=14)
    corpus = make_corpus(tmp_path / "old.rc", old)
    data = encode(old + b"tail", [corpus], tmp_path)
    assert isinstance(data, bytes)
    with pytest.raises(CorpusMissing, match=corpus.id):
        decode(data, [], tmp_path)


def test_a_trained_dictionary_serves_short_residuals(tmp_path: Path) -> None:
    import zstandard

    lines = [
        f'{{"level":"info","request":{i},"path":"/v2/library/app/blobs","status":200}}\n'.encode() for i in range(3000)
    ]
    trained = zstandard.train_dictionary(4096, lines[:2000]).as_bytes()
    corpus = make_corpus(tmp_path / "logs.rc", words(50_000, seed=15), dictionary=trained)
    plain = make_corpus(tmp_path / "plain.rc", words(50_000, seed=15))
    short = b"".join(lines[2500:2506])
    assert len(round_trip(short, [corpus], tmp_path)) < len(round_trip(short, [plain], tmp_path)) - 20


def test_members_and_anchors_travel(tmp_path: Path) -> None:
    encoder = BlobEncoder(FixedSelector(), tmp_path, EncodeOptions(gate=False, inline_bytes=0))
    encoder.feed(make_tar({"etc/hosts": words(20_000), "etc/fstab": words(9_000, seed=2)}))
    reduced = encoder.finish()
    assert isinstance(reduced, Reduced)
    assert reduced.packed_corpus is not None
    table, _ = PackedTable.parse(reduced.packed_corpus.read_bytes())
    encoder.close()
    assert dict(table.index.members).keys() == {path_hash("etc/hosts"), path_hash("etc/fstab")}
    assert table.index.anchors


def test_the_gate_declines_noise_and_keeps_relatives(tmp_path: Path) -> None:
    noise = random.Random(3).randbytes(3_000_000)
    options = EncodeOptions()
    declined = encode(noise, [], tmp_path, options)
    assert isinstance(declined, Stored)
    assert declined.reason is Reason.NO_GAIN
    assert isinstance(encode(noise, [make_corpus(tmp_path / "noise.rc", noise)], tmp_path, options), bytes)


def test_the_gate_lets_the_first_of_its_kind_pass(tmp_path: Path) -> None:
    # By the sample nothing would be saved, but the blob repeats itself later on.
    first = gzip.compress(words(9_000_000, seed=4) * 2, 6, mtime=0)
    assert isinstance(encode(first, [], tmp_path, EncodeOptions(minimum_score=0.99)), bytes)


def test_plain_limit(tmp_path: Path) -> None:
    stored = encode(bytes(3_000_000), [], tmp_path, EncodeOptions(gate=False, plain_limit_bytes=2_000_000))
    assert isinstance(stored, Stored)
    assert stored.reason is Reason.PLAIN_LIMIT


def test_at_most_eight_corpora(tmp_path: Path) -> None:
    parts = [words(60_000, seed=s) for s in range(20, 32)]
    corpora = [make_corpus(tmp_path / f"{i}.rc", part) for i, part in enumerate(parts)]
    data = encode(b"".join(parts), corpora, tmp_path)
    assert isinstance(data, bytes)
    assert decode(data, corpora, tmp_path) == b"".join(parts)
    assert len(Instructions.parse(data).meta.corpora) <= 8


@pytest.mark.parametrize("length", [300_000, 20_000_000], ids=["all chunks", "large chunks"])
def test_hooks_are_those_of_the_corpus_that_the_new_bytes_become(length: int, tmp_path: Path) -> None:
    content = random.Random(length).randbytes(length)
    blob = make_tar({"a": content[:100_000], "b": content[100_000:], "c": words(70_000)})
    encoder = BlobEncoder(FixedSelector(), tmp_path, EAGER)
    encoder.feed(blob)
    reduced = encoder.finish()
    assert isinstance(reduced, Reduced)
    assert reduced.packed_corpus is not None
    unpacked = UnpackedCorpus(memoryview(reduced.packed_corpus.read_bytes()), {}, tmp_path)
    unpacked.write_corpus(tmp_path / "new.rc")
    corpus = Corpus.open(tmp_path / "new.rc", allow_unsigned=True)
    assert len(reduced.hooks) > 30
    assert set(reduced.hooks) == set(hooks_of(corpus))
    encoder.close()


@pytest.mark.parametrize("places", [0, 1, 8])
def test_long_frames_are_read_in_any_order_whatever_places_there_are(
    places: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reducto.codec.unpacked._WHOLE_FRAME_BYTES", 1 << 20)
    blob = words(9_000_000)
    encoder = BlobEncoder(FixedSelector(), tmp_path, replace(EAGER, frame_bytes=3 << 20))
    encoder.feed(blob)
    reduced = encoder.finish()
    assert isinstance(reduced, Reduced)
    assert reduced.packed_corpus is not None
    readers = LongReaders(places)
    unpacked = UnpackedCorpus(memoryview(reduced.packed_corpus.read_bytes()), {}, tmp_path, readers=readers)
    assert len(unpacked.table.frames) == 3
    for at in (0, 3_500_000, 7_000_000, 1_500_000, 5_000_000, 8_000_000):
        assert unpacked.view(at, 100_000) == blob[at : at + 100_000]
    assert unpacked.view(0, len(blob)) == blob
    held = [readers.slot() for _ in range(places + 1)]
    assert held.count(None) == 1, "every slot is free again"
    encoder.close()


@pytest.mark.parametrize("kind", [FrameKind.RAW, FrameKind.LITERAL, FrameKind.DELTA])
def test_a_reader_goes_with_its_last_reference(kind: FrameKind) -> None:
    data = words(100_000)
    prefix = data[:50_000] if kind is FrameKind.DELTA else b""
    stored = data
    if kind is not FrameKind.RAW:
        stored = compress_delta(data, prefix, 3) if prefix else compress_literal(data, 3)
    reader = FrameReader(kind, stored, prefix, len(data))
    out = bytearray(70_000)
    reader.read_into(memoryview(out))
    assert bytes(out) == data[:70_000]
    gone = weakref.ref(reader)
    gc.disable()
    try:
        del reader
        assert gone() is None
    finally:
        gc.enable()


def _two_versions(tmp_path: Path) -> tuple[list[Corpus], list[bytes], list[bytes]]:
    """A corpus, three similar gzip blobs by Go's encoder (the third has half of the files), and their instructions."""
    oracle = next(o for o in go_oracles() if o.name == "go-1.26-level6")
    files = {f"usr/lib/{number}.py": words(30_000, seed=number) for number in range(150)}
    old, half = make_tar(files), make_tar(dict(islice(files.items(), 75)))
    files["usr/lib/7.py"] = words(29_000, seed=777)
    blobs = [oracle.encode(plain) for plain in (old, make_tar(files, mtime=1_800_000_000), half)]
    corpora = [make_corpus(tmp_path / "old.rc", old)]
    return corpora, blobs, [cast(bytes, encode(blob, corpora, tmp_path)) for blob in blobs]


def test_a_decoder_follows_an_older_blob(tmp_path: Path) -> None:
    corpora, blobs, instructions = _two_versions(tmp_path)
    given = {corpus.id: corpus for corpus in corpora}
    older, newer, half = (BlobDecoder(each, given, tmp_path) for each in instructions)
    assert 0.3 < newer.reuse_tokens(half, memoryview(blobs[2])) < 0.6
    assert newer.reuse_tokens(older, memoryview(blobs[0])) > 0.85
    assert newer.reuse_tokens(BlobDecoder(instructions[2], given, tmp_path), memoryview(blobs[2])) > 0.85, (
        "the best one stays"
    )
    assert b"".join(newer.rebuild()) == blobs[1]
    assert newer.reused_bytes > 3_000_000
    newer.close()
    assert BlobDecoder(instructions[1], given, tmp_path).reuse_tokens(newer, memoryview(b"not its wire bytes")) == 0


def test_a_closed_decoder_follows_nobody(tmp_path: Path) -> None:
    corpora, blobs, instructions = _two_versions(tmp_path)
    given = {corpus.id: corpus for corpus in corpora}
    older, newer, _ = (BlobDecoder(each, given, tmp_path) for each in instructions)
    newer.close()
    assert newer.reuse_tokens(older, memoryview(blobs[0])) == 1, "no help is missing"
    assert newer.reused_bytes == 0


@pytest.mark.slow
def test_wrong_bytes_of_the_older_blob_never_pass(tmp_path: Path) -> None:
    corpora, blobs, instructions = _two_versions(tmp_path)
    given = {corpus.id: corpus for corpus in corpora}
    rng, failures = random.Random(5), 0
    for _ in range(20):
        damaged = bytearray(blobs[0])
        damaged[rng.randrange(20, len(damaged) - 8)] ^= 1 << rng.randrange(8)
        older, newer, _ = (BlobDecoder(each, given, tmp_path) for each in instructions)
        newer.reuse_tokens(older, memoryview(bytes(damaged)))
        try:
            assert b"".join(newer.rebuild()) == blobs[1]
        except Corrupt:
            failures += 1
        newer.close()
    assert failures, "no damage was met"
