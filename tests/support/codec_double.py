"""A codec for tests of the sidecar alone: real deduplication of fixed blocks, real files, no C kernel.

A packed corpus is ``BLAKE3 id | zlib(plain)``, a raw one the same uncompressed; instructions are JSON. It fulfils
`sidecar.codec.Codec`, so the sidecar cannot tell it from the real one.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from reducto.errors import CorpusMissing, Corrupt
from reducto.model import ByteRange, ChunkId, CorpusId, Digest, Reason, Stored
from sidecar.codec import NewCorpus, Reduction, References

BLOCK_BYTES = 4096


def hook_of(block: bytes) -> ChunkId:
    return ChunkId(int.from_bytes(hashlib.blake2b(block, digest_size=8).digest(), "little"))


class DoubleCorpus:
    def __init__(self, path: Path, plain: bytes) -> None:
        self.path = path
        self.plain = plain
        self.plain_length = len(plain)
        self.id = CorpusId(blake3(plain).hexdigest())
        blocks = [plain[at : at + BLOCK_BYTES] for at in range(0, len(plain), BLOCK_BYTES)]
        self.blocks = {hook_of(block): at for at, block in enumerate(blocks)}


class DoubleEncoder:
    """Blocks found in references are copied, the others become a corpus."""

    def __init__(self, references: References, spool_dir: Path) -> None:
        self._references = references
        self._folder = spool_dir / f"encoder-{secrets.token_hex(6)}"
        self._folder.mkdir()
        self._wire = bytearray()

    def feed(self, wire: bytes) -> None:
        self._wire += wire

    def finish(self, digest: Digest) -> Reduction | Stored:
        wire = bytes(self._wire)
        if wire.startswith(b"keep me as I am"):
            return Stored(Reason.NO_GAIN)
        if wire.startswith(b"break the encoder"):
            raise RuntimeError("broken on request")
        blocks = [wire[at : at + BLOCK_BYTES] for at in range(0, len(wire), BLOCK_BYTES)]
        hooks = [hook_of(block) for block in blocks]
        corpora = [corpus for corpus, _ in self._references.elect(hooks, 8)]
        new = bytearray()
        operations: list[tuple[int, int, int]] = []
        found = 0
        for block, hook in zip(blocks, hooks, strict=True):
            for index, corpus in enumerate(corpora):
                if hook in corpus.blocks:  # type: ignore[attr-defined]
                    operations.append((index, corpus.blocks[hook] * BLOCK_BYTES, len(block)))  # type: ignore[attr-defined]
                    found += len(block)
                    break
            else:
                operations.append((len(corpora), len(new), len(block)))
                new += block
        used = {index for index, _, _ in operations}
        written = self._write(bytes(new)) if new else None
        names = [str(reference.id) for reference in corpora] + ([str(written.corpus_id)] if written else [])
        document = {"corpora": names, "operations": operations, "length": len(wire)}
        return Reduction(
            instructions=json.dumps(document).encode(),
            needs=tuple(corpus.id for index, corpus in enumerate(corpora) if index in used),
            corpus=written,
            wire_length=len(wire),
            plain_length=len(wire),
            found_length=found,
            receipt={"encoder": "double"},
        )

    def _write(self, plain: bytes) -> NewCorpus:
        packed = self._folder / "new.packed"
        corpus = DoubleCorpus(packed, plain)
        packed.write_bytes(bytes.fromhex(corpus.id) + zlib.compress(plain))
        return NewCorpus(corpus.id, packed, len(plain), (), tuple(corpus.blocks))

    def close(self) -> None:
        for path in self._folder.iterdir() if self._folder.exists() else ():
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()


class DoubleDecoder:
    def __init__(self, instructions: bytes, corpora: Mapping[CorpusId, DoubleCorpus]) -> None:
        self._document = json.loads(instructions)
        self._corpora = corpora

    def rebuild(self, wire: ByteRange | None = None) -> Iterator[bytes]:
        for index, offset, length in self._document["operations"]:
            name = CorpusId(self._document["corpora"][index])
            if name not in self._corpora:
                raise CorpusMissing(name)
            yield self._corpora[name].plain[offset : offset + length]

    def close(self) -> None:
        return None


class DoubleCodec:
    """`sidecar.codec.Codec` without a kernel."""

    def encoder(self, references: References, spool_dir: Path) -> DoubleEncoder:
        return DoubleEncoder(references, spool_dir)

    def decoder(self, instructions: bytes, corpora: Mapping[CorpusId, DoubleCorpus]) -> DoubleDecoder:
        return DoubleDecoder(instructions, corpora)

    def open(self, path: Path, expect: CorpusId) -> DoubleCorpus:
        return _checked(DoubleCorpus(path, path.read_bytes()), expect)

    def head_length(self, packed: Path) -> int:
        return packed.stat().st_size

    def lazy(
        self, packed: Path, expect: CorpusId, parents: Mapping[CorpusId, DoubleCorpus], arrived: object = None
    ) -> DoubleCorpus:
        try:
            plain = zlib.decompress(packed.read_bytes()[32:])
        except zlib.error as error:
            raise Corrupt("damaged packed corpus") from error
        return _checked(DoubleCorpus(packed, plain), expect)

    def release(self, corpus: DoubleCorpus) -> None:
        return None

    def write_mapped(self, corpus: DoubleCorpus, into: Path) -> None:
        into.write_bytes(corpus.plain)

    def repack(
        self, packed: Path, into: Path, expect: CorpusId, parents: Mapping[CorpusId, DoubleCorpus], level: int
    ) -> None:
        corpus = self.lazy(packed, expect, parents)
        into.write_bytes(bytes.fromhex(expect) + zlib.compress(corpus.plain, level))

    def count_hooks(self, corpus: DoubleCorpus, hooks: Sequence[ChunkId]) -> int:
        return sum(hook in corpus.blocks for hook in hooks)


def _checked(corpus: DoubleCorpus, expect: CorpusId) -> DoubleCorpus:
    if corpus.id != expect:
        raise Corrupt("not the corpus that was expected")
    return corpus
