"""The `.rc` file: golden bytes, round trips, and damage of every byte."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reducto.corpus.corpus_format import HEADER_BYTES, SEGMENT_BYTES, Section, SignatureBlock, signed_message
from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.reader import Corpus
from reducto.corpus.writer import CorpusWriter
from reducto.errors import Corrupt, NotReducto, ReductoError, SegmentCorrupt, Untrusted, UsageError
from reducto.kernel.chunking import Chunker, ChunkParams, path_hash
from reducto.values import ByteRange, CorpusId
from tests.corpus.samples import SIGNER, TRUST, noise, signer, write_small

GOLDEN = Path(__file__).parents[1] / "golden" / "corpus"
GOLDEN_ID = "c1f015317671c2467e67eec4dc19673a7ebbc56a95652bc9cfd8b6b9c0c84efb"


def read_all(corpus: Corpus) -> tuple[object, ...]:
    """Everything that can be read from a corpus."""
    return (
        corpus.id,
        bytes(corpus.view(0, corpus.plain_length)),
        list(corpus.index),
        list(corpus.hooks),
        list(corpus.paths),
        list(corpus.anchors()),
        corpus.dictionary,
        corpus.info,
        corpus.chunking,
    )


# -- golden: bytes on disk are forever -----------------------------------------------------------------------


def test_writing_the_golden_corpus_again_gives_its_bytes(tmp_path: Path) -> None:
    assert write_small(tmp_path / "small.rc", signer=SIGNER) == GOLDEN_ID
    assert (tmp_path / "small.rc").read_bytes() == (GOLDEN / "small-v1.rc").read_bytes()


def test_the_golden_corpus_reads() -> None:
    with Corpus.open(GOLDEN / "small-v1.rc", trust=TRUST) as corpus:
        assert corpus.id == GOLDEN_ID
        assert corpus.view(0, 40_000) == noise(40_000)
        assert corpus.paths.find(path_hash(b"./usr/lib/libssl.so.1")) == [512, 19_993]
        assert corpus.paths.find(path_hash(b"usr/lib/other")) == []
        assert list(corpus.anchors()) == [512, 19_993]
        assert corpus.dictionary == b"not a real dictionary"
        assert corpus.info.name == "small"
        assert corpus.signature is not None
        assert corpus.signature.key_id == SIGNER.key_id


# -- what a writer notes is what a reader finds --------------------------------------------------------------


def test_every_chunk_is_found_where_it_lies(tmp_path: Path) -> None:
    plain = noise(3_000_000)
    with IndexedCorpusWriter(tmp_path / "c.rc") as writer:
        writer.append(plain)
        writer.finish()
    table = Chunker(ChunkParams()).scan(plain, final=True)
    chunks = list(table)
    assert table.consumed == len(plain)
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        assert [corpus.index.find(fingerprint) for _, fingerprint, _, _ in chunks] == [c[0] for c in chunks]
        hooks = table.fingerprints(hooks_only=True)
        assert hooks
        assert list(corpus.hooks.find_many(hooks)) == list(corpus.index.find_many(hooks))
        assert len(corpus.hooks) == len(hooks)
        assert corpus.index.find(12345) is None


def test_how_appends_are_cut_changes_nothing(tmp_path: Path) -> None:
    plain = noise(700_000) + b"some text\n" * 40_000
    anchors = [512, 100_000, 100_001, 800_000]
    files = []
    for step in (17_777, 300_000, len(plain)):
        path = tmp_path / f"{step}.rc"
        with IndexedCorpusWriter(path) as writer:
            for at in range(0, len(plain), step):
                stop = at + step
                writer.append(plain[at:stop], anchors=[a for a in anchors if at < a <= stop])
            writer.finish()
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.one_of(
        st.integers(0, 5000),
        st.sampled_from([SEGMENT_BYTES + d for d in (-1, 0, 1)] + [2 * SEGMENT_BYTES + d for d in (-1, 0, 1)]),
    ),
    members=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 4999)), max_size=20),
    anchors=st.sets(st.integers(0, 5000), max_size=20),
    data=st.data(),
)
def test_round_trip(
    tmp_path: Path, length: int, members: list[tuple[int, int]], anchors: set[int], data: st.DataObject
) -> None:
    plain = noise(length, seed=length)
    members = [m for m in members if m[1] < length]
    inside = sorted(a for a in anchors if a <= length)
    path = tmp_path / "c.rc"
    with IndexedCorpusWriter(path, chunking=ChunkParams(1024)) as writer:
        writer.append(plain, anchors=inside)
        for member in members:
            writer.note_member(*member)
        identity = writer.finish()
    with Corpus.open(path, expect=identity) as corpus:
        assert corpus.plain_length == length
        start = data.draw(st.integers(0, length))
        stop = data.draw(st.integers(start, length))
        assert corpus.view(start, stop - start) == plain[start:stop]
        assert sorted(corpus.paths) == sorted(set(members))
        assert list(corpus.anchors()) == [a for a in inside if a]


def test_path_entries_per_name_are_bounded_to_the_last(tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "c.rc") as writer:
        writer.append(noise(1000))
        for offset in range(20):
            writer.note_member(7, offset)
        writer.finish()
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        assert corpus.paths.find(7) == list(range(12, 20))


def test_the_identity_depends_on_plain_bytes_and_dictionary_only(tmp_path: Path) -> None:
    def identity(plain: bytes, dictionary: bytes, **options: object) -> CorpusId:
        with IndexedCorpusWriter(tmp_path / "c.rc", **options) as writer:  # type: ignore[arg-type]
            writer.append(plain)
            return writer.finish(dictionary=dictionary)

    one = identity(noise(50_000), b"d")
    assert one == identity(noise(50_000), b"d", chunking=ChunkParams(4096), signer=SIGNER)
    assert one != identity(noise(50_000), b"")
    assert one != identity(noise(50_001), b"d")


# -- damage --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.rc"
    write_small(path, signer=SIGNER, plain=noise(2000) + bytes(1000))
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1 :])
        with pytest.raises((Corrupt, NotReducto, Untrusted)), Corpus.open(path, trust=TRUST) as corpus:
            corpus.view(0, corpus.plain_length)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.rc"
    write_small(path, signer=SIGNER, plain=noise(3000))
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises((Corrupt, NotReducto, Untrusted)):
            Corpus.open(path, trust=TRUST)
    path.write_bytes(good + b"\0")
    with pytest.raises(Corrupt, match="signature block"):
        Corpus.open(path, trust=TRUST)


def test_a_damaged_segment_is_found_on_first_use_and_named(tmp_path: Path) -> None:
    path = tmp_path / "c.rc"
    plain = noise(3 * SEGMENT_BYTES)
    write_small(path, plain=plain)
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + SEGMENT_BYTES + 5)
        file.write(b"\0\0\0\0")
    with Corpus.open(path, allow_unsigned=True) as corpus:
        assert corpus.view(0, SEGMENT_BYTES) == plain[:SEGMENT_BYTES]
        assert corpus.view(2 * SEGMENT_BYTES, 10) == plain[2 * SEGMENT_BYTES :][:10]
        for start, length in ((SEGMENT_BYTES - 1, 2), (SEGMENT_BYTES, 1), (0, 3 * SEGMENT_BYTES)):
            with pytest.raises(SegmentCorrupt) as caught:
                corpus.view(start, length)
            assert caught.value.index == 1


@pytest.mark.parametrize("submit", [False, True])
def test_ensure_verifies_the_ranges_and_nothing_else(tmp_path: Path, submit: bool) -> None:
    path = tmp_path / "c.rc"
    write_small(path, plain=noise(40 * SEGMENT_BYTES))
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 39 * SEGMENT_BYTES)
        file.write(bytes(100))
    with Corpus.open(path, allow_unsigned=True) as corpus, ThreadPoolExecutor(2) as pool:
        how = pool.submit if submit else None
        corpus.ensure([ByteRange(0, 39 * SEGMENT_BYTES), ByteRange(5, 5)], how)
        with pytest.raises(SegmentCorrupt):
            corpus.verify_all(how)


def test_views_outside_the_corpus_are_refused(tmp_path: Path) -> None:
    write_small(tmp_path / "c.rc")
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        for start, length in ((40_000, 1), (0, 40_001), (-1, 1), (5, -1), (1 << 63, 1)):
            with pytest.raises(Corrupt, match="leave corpus"):
                corpus.view(start, length)
        assert len(corpus.view(40_000, 0)) == 0


# -- trust ---------------------------------------------------------------------------------------------------


def test_an_unsigned_corpus_is_refused_unless_allowed(tmp_path: Path) -> None:
    path = tmp_path / "c.rc"
    identity = write_small(path)
    for trust in (None, TRUST):
        with pytest.raises(Untrusted, match="--allow-unsigned"):
            Corpus.open(path, trust=trust)
        Corpus.open(path, trust=trust, allow_unsigned=True).close()
    Corpus.open(path, expect=identity).close()
    with pytest.raises(Corrupt, match="expected was"):
        Corpus.open(path, expect=CorpusId("0" * 64))


def test_a_signature_by_another_key_is_refused_even_when_unsigned_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "c.rc"
    write_small(path, signer=signer(b"x" * 32))
    with pytest.raises(Untrusted, match="not trusted"):
        Corpus.open(path, trust=TRUST, allow_unsigned=True)
    with pytest.raises(Untrusted, match="no trusted keys"):
        Corpus.open(path)
    good = signer().sign(signed_message(b"another root, 32 bytes of it...."))
    block = SignatureBlock(SIGNER.key_id, good).to_bytes()
    path.write_bytes(path.read_bytes()[: -len(block)] + block)
    with pytest.raises(Untrusted, match="wrong"):
        Corpus.open(path, trust=TRUST, allow_unsigned=True)


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", NotReducto), (b"PK\3\4" * 2000, NotReducto), (bytes(9000), NotReducto), (None, UsageError)],
)
def test_what_is_no_corpus_says_so(tmp_path: Path, content: bytes | None, error: type[ReductoError]) -> None:
    path = tmp_path / "c.rc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=r"c\.rc"):
        Corpus.open(path)


def test_a_later_format_version_says_so(tmp_path: Path) -> None:
    write_small(tmp_path / "c.rc")
    data = bytearray((tmp_path / "c.rc").read_bytes())
    data[8] = 2
    (tmp_path / "c.rc").write_bytes(data)
    with pytest.raises(NotReducto, match="version 2"):
        Corpus.open(tmp_path / "c.rc", allow_unsigned=True)


# -- life of the files ---------------------------------------------------------------------------------------


def test_nothing_is_left_of_an_unfinished_corpus(tmp_path: Path) -> None:
    with IndexedCorpusWriter(tmp_path / "sub" / "c.rc") as writer:
        writer.append(noise(3_000_000))
    assert list((tmp_path / "sub").iterdir()) == []
    write_small(tmp_path / "c.rc")
    before = (tmp_path / "c.rc").read_bytes()
    with CorpusWriter(tmp_path / "c.rc") as writer:
        writer.append(b"abc")
        writer.note_member(1, 3)
        with pytest.raises(UsageError, match="beyond"):
            writer.finish()
    assert (tmp_path / "c.rc").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.rc", "sub"]


def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from reducto.corpus.indexing import IndexedCorpusWriter\n"
        "writer = IndexedCorpusWriter(sys.argv[1])\n"
        "writer.append(os.urandom(5_000_000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "c.rc")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_without_unnamed_files_a_hidden_one_is_used_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    with IndexedCorpusWriter(tmp_path / "c.rc") as writer:
        writer.append(noise(100))
        assert [p.suffix for p in tmp_path.iterdir()] == [".partial"]
    assert list(tmp_path.iterdir()) == []
    write_small(tmp_path / "c.rc")
    assert [p.name for p in tmp_path.iterdir()] == ["c.rc"]


def test_a_view_outlives_its_corpus(tmp_path: Path) -> None:
    write_small(tmp_path / "c.rc")
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        view = corpus.view(100, 50)
    with pytest.raises(UsageError, match="closed"):
        corpus.view(0, 1)
    del corpus
    gc.collect()
    (tmp_path / "c.rc").unlink()
    assert view == noise(40_000)[100:150]


def test_sections_are_where_the_format_document_says(tmp_path: Path) -> None:
    write_small(tmp_path / "c.rc")
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        assert list(corpus.section_lengths()) == [s.name.lower() for s in Section]
    assert (tmp_path / "c.rc").read_bytes()[HEADER_BYTES:][:40_000] == noise(40_000)


def test_a_corpus_read_into_memory_needs_its_file_no_more(tmp_path: Path) -> None:
    mapped, copied = tmp_path / "mapped.rc", tmp_path / "copied.rc"
    write_small(mapped)
    copied.write_bytes(mapped.read_bytes())
    with (
        Corpus.open(mapped, allow_unsigned=True) as one,
        Corpus.open(copied, allow_unsigned=True, memory_mapped=False) as other,
    ):
        os.truncate(copied, 0)
        assert other.id == one.id
        assert bytes(other.view(0, other.plain_length)) == bytes(one.view(0, one.plain_length))
