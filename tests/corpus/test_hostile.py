"""Corpora with right hashes and false tables: encoding against them fails or gives a right result."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from corpus_builder.plain import plain_pieces
from reducto.cli import main
from reducto.corpus.reader import Corpus
from reducto.corpus.writer import CorpusWriter
from reducto.errors import Corrupt, LimitExceeded, UsageError
from reducto.kernel.chunking import Chunker, ChunkParams, path_hash
from tests.corpus.samples import noise
from tests.corpus_builder.samples import tar_of

FILES = {f"usr/lib/module{n}.py": noise(20_000, n) for n in range(30)}


def lying_corpus(path: Path, plain: bytes, offsets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus whose index, hooks, paths and anchors point to wrong places."""
    rng = random.Random(offsets)
    places = {
        "wrong": lambda: rng.randrange(len(plain)),
        "at the end": lambda: len(plain) - 1,
        "beyond": lambda: len(plain) + rng.randrange(1 << 20),
        "huge": lambda: (1 << 64) - 2 - rng.randrange(1 << 20),
    }
    monkeypatch.setattr(CorpusWriter, "_check_offsets", lambda _: None)
    chunks = list(Chunker(ChunkParams()).scan(plain, final=True))
    with CorpusWriter(path) as writer:
        writer.append(plain)
        writer.note_chunks([(fingerprint, places[offsets]()) for _, fingerprint, _, _ in chunks])
        writer.note_hooks([(fingerprint, places[offsets]()) for _, fingerprint, _, _ in chunks[::3]])
        for name in FILES:
            writer.note_member(path_hash(name), places[offsets]())
        writer.finish(dictionary=noise(500))


@pytest.mark.parametrize("offsets", ["wrong", "at the end", "beyond", "huge"])
def test_lying_tables_cost_ratio_and_nothing_else(
    tmp_path: Path, offsets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tar_of(FILES)
    lying_corpus(tmp_path / "c.rc", plain, offsets, monkeypatch)
    changed = tar_of({name: data[:10_000] + b"changed" + data[10_000:] for name, data in FILES.items()})
    (tmp_path / "new.tar").write_bytes(changed)
    words = ["--corpus", str(tmp_path / "c.rc"), "--allow-unsigned", "--quiet"]
    reduced, out = str(tmp_path / "new.reducto"), tmp_path / "out.tar"
    assert main(["compress", "--input", str(tmp_path / "new.tar"), "--output", reduced, *words]) == 0
    assert main(["decompress", "--input", reduced, "--output", str(out), *words]) == 0
    assert out.read_bytes() == changed


def test_anchors_that_lie_are_refused_where_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CorpusWriter, "_check_offsets", lambda _: None)
    with CorpusWriter(tmp_path / "c.rc") as writer:
        writer.append(noise(100))
        writer.note_anchors([1 << 40])
        writer.finish()
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus, pytest.raises(Corrupt, match="anchors"):
        list(corpus.anchors())


def test_writing_from_what_lies_fails_before_there_is_a_file(tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "c.rc") as writer:
        writer.append(noise(100))
        writer.note_anchors([50, 20])
        with pytest.raises(UsageError, match="ascend"):
            writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_decompression_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    read: list[int] = []
    with pytest.raises(LimitExceeded, match="more than 10000000"):
        read.extend(len(piece) for piece in plain_pieces([bomb], "bomb", limit_bytes=10_000_000))
    assert sum(read) <= 10_000_000
