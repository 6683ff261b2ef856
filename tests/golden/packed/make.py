"""Makes the golden packed corpus, with a frame of every kind: ``python -m tests.golden.packed.make``.

A golden file is never replaced: what a registry holds must unpack for ever. Only a file that does not exist is written.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from blake3 import blake3

from reducto.codec.difference_frame import compress_difference
from reducto.codec.frame_reader import prove_frame
from reducto.codec.frames import Frame, FrameKind, compress_delta, compress_dictionary, compress_literal
from reducto.codec.packed import IndexInputs, PackedTable, write_packed
from reducto.corpus.reader import Corpus
from reducto.kernel.chunking import ChunkParams
from reducto.kernel.matching import Extent
from reducto.values import ByteRange
from tests.codec.samples import make_corpus

GOLDEN = Path(__file__).parent / "every-kind-v1.rcp"
_PART_BYTES = 6000
_DICTIONARY = b"".join(b'{"number":%d,"path":"/v2/library/app","status":200}\n' % n for n in range(40))


def _bytes(seed: int, length: int) -> bytes:
    """The same bytes wherever this runs, whatever becomes of Python's own generators."""
    return blake3(b"golden packed corpus %d" % seed).digest(length=length)


def _code(moved: int) -> bytes:
    """Like compiled code: addresses among bytes that stay."""
    rows = _bytes(1, 8 * (_PART_BYTES // 10))
    addresses = (int.from_bytes(rows[at : at + 2], "little") + moved & 0xFFFF for at in range(0, len(rows), 8))
    return b"".join(rows[8 * n : 8 * n + 8] + address.to_bytes(2, "little") for n, address in enumerate(addresses))


def _parts() -> list[bytes]:
    """The plain bytes of a frame of each kind, in the kinds' order."""
    changed = bytearray(_code(0))
    changed[::500] = b"!" * len(changed[::500])
    short = b"".join(b'{"number":%d,"path":"/v2/library/app","status":200}\n' % n for n in range(90, 95))
    return [_bytes(2, _PART_BYTES), _bytes(3, 50).hex().encode() * 60, bytes(changed), short, _code(0x1234)]


def golden_plain() -> bytes:
    """What the golden file unpacks to."""
    return b"".join(_parts())


def golden_corpora(folder: Path) -> list[Corpus]:
    """The parents that it needs."""
    return [make_corpus(folder / "parent.rc", _code(0), _DICTIONARY)]


def make(folder: Path) -> bytes:
    """The file's bytes."""
    (parent,) = golden_corpora(folder)
    twins = bytes(parent.plain)
    raw, literal, delta, short, difference = _parts()
    differences = compress_difference(difference, twins, 9)
    assert differences is not None
    stored = [
        raw, compress_literal(literal, 9), compress_delta(delta, twins, 9),
        compress_dictionary(short, _DICTIONARY, 9), differences[0],
    ]  # fmt: skip
    frames, at = [], 0
    for kind, part, data in zip(FrameKind, _parts(), stored, strict=True):
        whole = {FrameKind.DELTA: len(twins), FrameKind.DIFFERENCE: len(twins), FrameKind.DICTIONARY: 0}
        stretches = (Extent(0, 0, whole[kind]),) if kind in whole else ()
        prove_frame(kind, data, _DICTIONARY if kind is FrameKind.DICTIONARY else twins, part)
        frames.append(Frame(kind, (ByteRange(at, at + len(part)),), len(data), stretches))
        at += len(part)
    index = IndexInputs(ChunkParams(), anchors=(_PART_BYTES,))
    table = PackedTable(at, b"", blake3(golden_plain()).digest(), (parent.id,), tuple(frames), index)
    out = io.BytesIO()
    write_packed(out, table, io.BytesIO(b"".join(stored)))
    return out.getvalue()


if __name__ == "__main__" and not GOLDEN.exists():
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_bytes(make(Path(folder)))
