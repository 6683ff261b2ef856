"""Damage is reported and never decoded: every byte of a small file flipped, every truncation, hostile tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from reducto.codec import BlobDecoder
from reducto.corpus.reader import Corpus
from reducto.errors import Corrupt, NotReducto, ProofFailed, ReductoError
from reducto.values import ByteRange
from tests.codec.samples import decode, encode, make_corpus, words


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, Corpus, Path]:
    """A file that has everything: copies, a delta frame, a literal frame, a repeat."""
    directory = tmp_path_factory.mktemp("damage")
    old = words(60_000, seed=1)
    corpus = make_corpus(directory / "old.rc", old)
    changed = bytearray(old[20_000:26_000])
    changed[::400] = b"!" * len(changed[::400])
    blob = old[:20_000] + bytes(changed) + old[26_000:] + old[:3000]
    data = encode(blob, [corpus], directory)
    assert isinstance(data, bytes)
    assert len(data) < 4000
    return blob, data, corpus, directory


def outcome(data: bytes, corpus: Corpus, directory: Path, wire: ByteRange | None = None) -> bytes | None:
    """The decoded bytes, or None for a clear refusal. Any other exception fails the test."""
    try:
        return decode(data, [corpus], directory, wire)
    except (Corrupt, NotReducto):
        return None


@pytest.mark.slow
def test_every_byte_flipped(small: tuple[bytes, bytes, Corpus, Path]) -> None:
    blob, data, corpus, directory = small
    refused = 0
    for at in range(len(data)):
        for bit in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[at] ^= bit
            got = outcome(bytes(damaged), corpus, directory)
            assert got in (None, blob), f"wrong bytes after a flip at {at}"
            refused += got is None
    assert refused > 1.9 * len(data)


def test_every_byte_flipped_and_a_range_read(small: tuple[bytes, bytes, Corpus, Path]) -> None:
    """A range has no hash over the whole blob, so its corpora must be verified by themselves."""
    blob, data, corpus, directory = small
    span = ByteRange(19_000, 27_000)
    for at in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        assert outcome(bytes(damaged), corpus, directory, span) in (None, blob[19_000:27_000])


def test_every_truncation(small: tuple[bytes, bytes, Corpus, Path]) -> None:
    _, data, corpus, directory = small
    for length in range(len(data)):
        assert outcome(data[:length], corpus, directory) is None
    assert outcome(data + b"x", corpus, directory) is None


def test_a_damaged_corpus_is_noticed_by_encoder_and_decoder(tmp_path: Path) -> None:
    old = words(3_000_000, seed=2)
    good = make_corpus(tmp_path / "good.rc", old)
    data = encode(old, [good], tmp_path)
    assert isinstance(data, bytes)
    raw = bytearray((tmp_path / "good.rc").read_bytes())
    raw[4096 + 1_500_000] ^= 1
    (tmp_path / "bad.rc").write_bytes(raw)
    bad = Corpus.open(tmp_path / "bad.rc", allow_unsigned=True)
    with pytest.raises(Corrupt, match="segment 1"):
        decode(data, [bad], tmp_path)
    with pytest.raises((Corrupt, ProofFailed)):
        encode(old, [bad], tmp_path)
    decoder = BlobDecoder(data, {bad.id: bad}, tmp_path)
    assert b"".join(decoder.rebuild(ByteRange(0, 500_000))) == old[:500_000]


def test_the_wrong_corpus_under_the_right_name(tmp_path: Path) -> None:
    old = words(200_000, seed=3)
    right = make_corpus(tmp_path / "right.rc", old)
    wrong = make_corpus(tmp_path / "wrong.rc", words(200_000, seed=4))
    data = encode(old, [right], tmp_path)
    assert isinstance(data, bytes)
    decoder = BlobDecoder(data, {right.id: wrong}, tmp_path)
    with pytest.raises(ReductoError):
        list(decoder.rebuild())
