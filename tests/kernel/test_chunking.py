"""Chunk boundaries: golden for ever, independent of how data arrives, and the same at both scales."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reducto.errors import UsageError
from reducto.kernel.chunking import LARGE, Chunker, ChunkParams, TarWalk, fingerprint, path_hash
from tests.codec.samples import make_tar, words

GOLDEN = Path(__file__).parents[1] / "golden" / "chunks.txt"


def cut(
    data: bytes, params: ChunkParams, anchors: list[int] | None = None, piece: int | None = None
) -> list[tuple[int, int, int, int]]:
    """All chunks of ``data``, given ``piece`` bytes at a time."""
    chunker, out, at, end = Chunker(params), [], 0, 0
    anchors = anchors or []
    while at < len(data) or not data:
        end = len(data) if piece is None else min(len(data), max(end, at) + piece)
        table = chunker.scan(data[at:end], final=end == len(data), anchors=[a - at for a in anchors if at < a <= end])
        out += [(at + offset, length, print_, flags) for offset, print_, length, flags in table]
        at += table.consumed
        if not data:
            break
    return out


def golden_inputs() -> list[tuple[str, bytes, ChunkParams]]:
    noise, text = random.Random(42).randbytes(400_000), words(400_000, seed=42)
    return [
        ("noise-8192", noise, ChunkParams()),
        ("noise-1024", noise, ChunkParams(1024)),
        ("text-8192", text, ChunkParams()),
        ("text-8192-anywhere", text, ChunkParams(lean_to_lines=False)),
        ("lines-8192", text.replace(b" ", b"\n"), ChunkParams()),
        ("zeros-8192", bytes(200_000), ChunkParams()),
    ]


def render() -> str:
    lines = []
    for name, data, params in golden_inputs():
        lines += [f"{name} {o} {n} {p:016x} {f}" for o, n, p, f in cut(data, params)]
    return "\n".join(lines) + "\n"


def test_boundaries_and_fingerprints_must_never_change() -> None:
    """If they did, no corpus that exists would match anything any more."""
    assert render() == GOLDEN.read_text()


@pytest.mark.parametrize("params", [ChunkParams(), ChunkParams(1024), ChunkParams(65536, lean_to_lines=False)])
def test_lengths_stay_in_bounds_and_cover_everything(params: ChunkParams) -> None:
    data = random.Random(1).randbytes(3_000_000)
    chunks = cut(data, params)
    assert sum(length for _, length, _, _ in chunks) == len(data)
    assert [offset for offset, *_ in chunks] == [sum(c[1] for c in chunks[:i]) for i in range(len(chunks))]
    average = params.average_bytes
    assert all(average // 2 <= length <= 8 * average + 256 for _, length, _, _ in chunks[:-1])
    assert average * 0.85 < len(data) / len(chunks) < average * 1.2
    assert all(print_ == fingerprint(data[o : o + n]) for o, n, print_, _ in chunks)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300_000), st.integers(70_000, 200_000), st.lists(st.integers(1, 300_000), max_size=5))
def test_pieces_change_nothing(length: int, piece: int, anchors: list[int]) -> None:
    data = words(length, seed=length % 7)
    anchors = sorted({anchor for anchor in anchors if anchor < length})
    whole = cut(data, ChunkParams(), anchors)
    assert cut(data, ChunkParams(), anchors, piece) == whole
    ends = {offset + n for offset, n, _, _ in whole}
    assert set(anchors) <= ends


def test_boundaries_come_back_after_an_insertion() -> None:
    data = random.Random(2).randbytes(2_000_000)
    before = {(n, p) for _, n, p, _ in cut(data, ChunkParams())}
    after = cut(data[:1_000_000] + b"inserted" + data[1_000_000:], ChunkParams())
    assert sum((n, p) not in before for _, n, p, _ in after) <= 4


def test_large_boundaries_are_some_of_the_small_ones() -> None:
    data = random.Random(3).randbytes(20_000_000)
    chunks = cut(data, ChunkParams())
    large = [offset + n for offset, n, _, flags in chunks if flags & LARGE]
    assert 100_000 < len(data) / len(large) < 400_000
    shifted = cut(b"x" * 77 + data, ChunkParams())
    assert len({e - 77 for e in (o + n for o, n, _, f in shifted if f & LARGE)} & set(large)) > 0.95 * len(large)


def test_text_is_cut_at_line_starts() -> None:
    text = words(600_000, seed=4).replace(b" ", b"\n")
    ends = [offset + n for offset, n, _, _ in cut(text, ChunkParams())][:-1]
    assert all(text[end - 1 : end] == b"\n" for end in ends)
    anywhere = [offset + n for offset, n, _, _ in cut(text, ChunkParams(lean_to_lines=False))][:-1]
    assert sum(text[end - 1 : end] == b"\n" for end in anywhere) < len(anywhere) / 2


@pytest.mark.parametrize("average", [0, 512, 3000, 1 << 21])
def test_chunk_sizes_out_of_range_are_refused(average: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        Chunker(ChunkParams(average)).scan(b"x", final=True)


def test_tar_members_are_found_however_the_tar_arrives() -> None:
    long_name = "directory/" * 20 + "file-7.txt"
    tar = make_tar({"a": b"x" * 1000, "dir/b-12.so": b"", long_name: b"y" * 600, "c": b"z" * 512})
    whole = TarWalk().feed(tar)
    assert [tar[content : content + length][:1] for _, content, length, _ in whole] == [b"x", b"", b"y", b"z"]
    assert [h for *_, h in whole] == [path_hash(p) for p in ("a", "dir/b-12.so", long_name, "c")]
    for piece in (1, 7, 511, 512, 513, 4096):
        walk = TarWalk()
        members = [m for at in range(0, len(tar), piece) for m in walk.feed(tar[at : at + piece])]
        assert members == whole
        assert walk.is_tar


def test_what_is_no_tar_has_no_members() -> None:
    walk = TarWalk()
    assert walk.feed(random.Random(5).randbytes(100_000)) == []
    assert not walk.is_tar


def test_paths_differ_by_more_than_digits() -> None:
    assert (
        path_hash("./usr/lib/libssl.so.1.1")
        == path_hash("usr/lib/libssl.so.3.12")
        != path_hash("usr/lib/libcrypto.so.1.1")
    )
    assert path_hash("a1b22") == path_hash("a9b7") != path_hash("ab")


if __name__ == "__main__":
    GOLDEN.write_text(render())
