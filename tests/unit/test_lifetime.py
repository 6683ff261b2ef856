"""The memory of an encoder or decoder, often hundreds of MB, is freed at its end and not by the garbage collector."""

from __future__ import annotations

import gc
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reducto.config import Config
from reducto.corpus.reader import Corpus
from reducto.values import ChunkId, CorpusId, Digest, Stored
from sidecar.codec.adapter import ReductoCodec
from sidecar.codec.interface import LocalCorpus, Reduction
from sidecar.runtime.offload import Offload
from tests.codec.samples import make_corpus, make_tar, words

BLOBS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": lambda plain: gzip.compress(plain, 6, mtime=0),
    "two members": lambda plain: gzip.compress(plain[:100_000], mtime=0) + gzip.compress(plain[100_000:], mtime=0),
    "cut off": lambda plain: gzip.compress(plain, 6, mtime=0)[:-2000],
}


class OneCorpus:
    """A reference finder that has one corpus."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def select_similar(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[tuple[LocalCorpus, frozenset[CorpusId]]]:
        return [(self._corpus, frozenset())][:limit]


def left_to_the_collector(action: Callable[[], object]) -> list[str]:
    """The names of Reducto's classes of which ``action`` leaves objects behind in reference cycles."""
    gc.collect()
    gc.disable()
    try:
        action()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = {type(left) for left in gc.garbage}
        return sorted(kind.__qualname__ for kind in kinds if kind.__module__.startswith(("reducto", "sidecar")))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize("kind", BLOBS)
def test_nothing_is_left_to_the_garbage_collector(kind: str, tmp_path: Path) -> None:
    files = {f"usr/lib/{number}.py": words(30_000, seed=number) for number in range(30)}
    corpus = make_corpus(tmp_path / "old.rc", make_tar(files))
    files["usr/lib/7.py"] = words(29_000, seed=777)
    blob = BLOBS[kind](make_tar(files, mtime=1_800_000_000))
    offload = Offload()
    codec = ReductoCodec(Config(), offload.submit, tmp_path)
    outcomes: list[Reduction | Stored] = []

    def encode() -> None:
        encoder = codec.encoder(OneCorpus(corpus), tmp_path)
        for at in range(0, len(blob), 100_003):
            encoder.feed(blob[at : at + 100_003])
        outcomes.append(encoder.finish(Digest.of(blob)))
        encoder.close()

    def rebuild(instructions: bytes) -> None:
        decoder = codec.decoder(instructions, {corpus.id: corpus})
        assert b"".join(decoder.rebuild()) == blob
        decoder.close()

    assert left_to_the_collector(encode) == []
    outcome = outcomes.pop()
    if kind == "cut off":
        assert isinstance(outcome, Stored)
    else:
        assert isinstance(outcome, Reduction)
        assert left_to_the_collector(lambda: rebuild(outcome.instructions)) == []
    offload.close()
