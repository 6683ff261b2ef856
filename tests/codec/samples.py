"""Blobs, corpora and the round trip for the codec tests."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reducto.codec import BlobDecoder, BlobEncoder, EncodeOptions, FixedSelector, Reduced
from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.reader import Corpus
from reducto.kernel.chunking import TarWalk
from reducto.values import ByteRange, Stored

#: Options with which every blob is reduced, so that a test sees a result however small its data is.
EAGER = EncodeOptions(gate=False, minimum_gain=-1e9)


def words(length: int, seed: int = 1) -> bytes:
    """Compressible bytes without long repeats; each ``seed`` gives other bytes."""
    rng = random.Random(seed)
    vocabulary = [rng.randbytes(rng.randrange(2, 9)).hex().encode() for _ in range(500)]
    out = bytearray()
    while len(out) < length:
        out += rng.choice(vocabulary) + b" "
    return bytes(out[:length])


def make_tar(files: dict[str, bytes], mtime: int = 1_700_000_000) -> bytes:
    """A tar with these regular files, all with the same modification time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def make_corpus(path: Path, plain: bytes, dictionary: bytes = b"") -> Corpus:
    """An unsigned corpus of ``plain``, with members and anchors if it is a tar."""
    with IndexedCorpusWriter(path) as writer:
        members = TarWalk().feed(plain)
        for header, _, _, path_hash in members:
            writer.note_member(path_hash, header)
        writer.append(plain, sorted({edge for m in members for edge in m[:2] if 0 < edge <= len(plain)}))
        writer.finish(dictionary=dictionary)
    return Corpus.open(path, allow_unsigned=True)


def encode(
    blob: bytes,
    corpora: Sequence[Corpus],
    spool: Path,
    options: EncodeOptions = EAGER,
    *,
    workers: ThreadPoolExecutor | None = None,
    piece: int = 1 << 20,
) -> bytes | Stored:
    """The self-contained `.reducto` bytes of ``blob``."""
    encoder = BlobEncoder(FixedSelector(corpora), spool, options, workers.submit if workers else None)
    try:
        for at in range(0, len(blob), piece):
            encoder.feed(blob[at : at + piece])
        result = encoder.finish()
        if not isinstance(result, Reduced):
            return result
        out = io.BytesIO()
        result.write_file(out)
        return out.getvalue()
    finally:
        encoder.close()
        assert not list(spool.glob("encode-*")), "an encoder left files behind"


def decode(data: bytes, corpora: Sequence[Corpus], spool: Path, wire: ByteRange | None = None) -> bytes:
    """The blob, or a range of it."""
    decoder = BlobDecoder(data, {corpus.id: corpus for corpus in corpora}, spool)
    try:
        return b"".join(decoder.rebuild(wire))
    finally:
        decoder.close()


def program(functions: int, seed: int = 1, shift: int = 0) -> bytes:
    """Bytes like compiled code: functions of instructions, some of which hold an address that ``shift`` moves."""
    rng = random.Random(seed)
    out = bytearray()
    for _ in range(functions):
        for _ in range(rng.randrange(8, 40)):
            out += rng.randbytes(rng.randrange(3, 9))
            if rng.random() < 0.4:
                out += b"\xe8" + (rng.randrange(1 << 24) + shift).to_bytes(4, "little")
    return bytes(out)
