"""``reducto benchmark``: compresses a sample of a folder by gzip, zstd and Reducto, and says which one pays."""

from __future__ import annotations

import tempfile
import time
from argparse import ArgumentParser, Namespace
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from reducto.cli import baselines
from reducto.cli.console import format_bytes
from reducto.cli.context import Context
from reducto.cli.corpus_options import add_corpus_options, open_corpora
from reducto.cli.inputs import Input
from reducto.cli.reduce import encode, encode_options
from reducto.codec import BlobDecoder, EncodeOptions, Receipt
from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.reader import Corpus
from reducto.errors import UsageError

SAMPLE_LIMIT_BYTES = 100_000_000
_FILE_LIMIT_BYTES = 25_000_000
_BENCHMARK_LEVEL = 3
_PIECE_BYTES = 1 << 20
_SMALLER_THAN_ZSTD = 0.8


@dataclass(frozen=True, slots=True)
class Outcome:
    """The sizes in bytes and times in seconds that were measured."""

    sample_bytes: int
    gzip: baselines.Baseline
    zstd: baselines.Baseline
    receipt: Receipt
    encode_seconds: float
    decode_seconds: float

    @property
    def output_bytes(self) -> int:
        return self.receipt.output_bytes


class Benchmark:
    """Answers whether Reducto pays for the data of a folder."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--input", required=True, metavar="DIR", help="folder or file that is sampled")
        add_corpus_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        with open_corpora(arguments, context) as corpora, tempfile.TemporaryDirectory(prefix="reducto-") as scratch:
            directory = Path(scratch)
            files = choose(Path(arguments.input), SAMPLE_LIMIT_BYTES)
            own = None
            if not corpora:
                context.console.note("no --corpus: half of the sampled files serve as the corpus for the other half")
                reference, files = halves(files)
                own = make_corpus(reference, directory / "half.rc")
            sample = directory / "sample"
            join(files, sample)
            with context.workers() as pool:
                options = encode_options(context, _BENCHMARK_LEVEL)
                outcome = measure(sample, [own] if own else corpora, options, directory, pool.submit)
            if own is not None:
                own.close()
        document, text = answer(outcome)
        context.console.result(document, text)
        return 0


def choose(source: Path, limit_bytes: int) -> list[Path]:
    """A sample of the files in ``source``, of at most ``limit_bytes`` in all. Raises `UsageError` if there is none.

    Files are taken in the order of the hashes of their names, so no folder is preferred and each run takes the same.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UsageError(f"{source}: no such file or directory")
    files = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    files.sort(key=lambda path: blake3(str(path.relative_to(source)).encode()).digest())
    chosen, total = [], 0
    for path in files:
        length = min(path.stat().st_size, _FILE_LIMIT_BYTES)
        if length and total + length <= limit_bytes:
            chosen.append(path)
            total += length
    if not chosen:
        raise UsageError(f"{source} holds no files to sample")
    return chosen


def halves(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """The files with even and with odd index, which are about as long. Raises `UsageError` for fewer than two."""
    if len(files) < 2:
        raise UsageError("a single file cannot serve as corpus and as data; give --corpus, or a folder")
    return files[::2], files[1::2]


def _contents(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_FILE_LIMIT_BYTES)


def make_corpus(files: list[Path], target: Path) -> Corpus:
    """Writes an unsigned corpus of ``files`` to ``target`` and opens it."""
    with IndexedCorpusWriter(target) as writer:
        for path in files:
            writer.append(_contents(path), [writer.plain_length] if writer.plain_length else [])
        writer.finish()
    return Corpus.open(target, allow_unsigned=True)


def join(files: list[Path], target: Path) -> None:
    """Writes the bytes of all files, one after the other, to ``target``."""
    with target.open("wb") as out:
        for path in files:
            out.write(_contents(path))


def measure(sample: Path, corpora: list[Corpus], options: EncodeOptions, spool: Path, submit: Any) -> Outcome:
    """Compresses ``sample`` by gzip, zstd and Reducto, and rebuilds it from Reducto's output."""
    source = Input(str(sample))
    gzip, zstd = baselines.gzip(source.pieces()), baselines.zstd(source.pieces())
    started = time.perf_counter()
    encoder, reduced = encode(source, corpora, options, spool, submit, lambda _: None)
    encoded = time.perf_counter()
    target = spool / "sample.reducto"
    with closing(encoder), target.open("wb") as out:
        reduced.write_file(out)
    decoder = BlobDecoder(target.read_bytes(), {corpus.id: corpus for corpus in corpora}, spool, submit)
    with closing(decoder):
        decoding = time.perf_counter()
        for _ in decoder.rebuild():
            pass
    seconds = time.perf_counter() - decoding
    return Outcome(sample.stat().st_size, gzip, zstd, reduced.receipt, encoded - started, seconds)


def answer(outcome: Outcome) -> tuple[dict[str, Any], str]:
    """The answer as a JSON document and as text."""
    recommended, reasons = decide(outcome)
    verdict = "RECOMMENDED" if recommended else "NOT RECOMMENDED"
    rows = [
        ("gzip -6", outcome.gzip.output_bytes, outcome.gzip.seconds),
        ("zstd -3", outcome.zstd.output_bytes, outcome.zstd.seconds),
        ("reducto", outcome.output_bytes, outcome.encode_seconds),
    ]
    lines = [f"sample: {format_bytes(outcome.sample_bytes)}", ""]
    for name, size, seconds in rows:
        rate = outcome.sample_bytes / max(seconds, 1e-6)
        ratio = outcome.sample_bytes / max(size, 1)
        lines.append(f"{name:8} {format_bytes(size):>10}  {ratio:8.2f}x  {format_bytes(rate):>10}/s")
    decode_rate = outcome.sample_bytes / max(outcome.decode_seconds, 1e-6)
    lines += [f"rebuild  {'':10}  {'':9}  {format_bytes(decode_rate):>10}/s", "", f"{verdict}:"]
    lines += [f"  - {reason}" for reason in reasons]
    document = {
        "answer": verdict,
        "reasons": reasons,
        "sample_bytes": outcome.sample_bytes,
        "results": {n: {"output_bytes": size, "seconds": seconds} for n, size, seconds in rows},
        "rebuild_seconds": outcome.decode_seconds,
        "hit_rate": outcome.receipt.hit_rate,
        "differential_advantage_score": outcome.receipt.score,
    }
    return document, "\n".join(lines)


def decide(outcome: Outcome) -> tuple[bool, list[str]]:
    """Whether Reducto is recommended, and the reasons.

    It is when its output is at least 20 % smaller than zstd's and it is not slower than gzip.
    """
    share = outcome.output_bytes / max(outcome.zstd.output_bytes, 1)
    speed = outcome.gzip.seconds / max(outcome.encode_seconds, 1e-6)
    smaller, fast = share <= _SMALLER_THAN_ZSTD, speed >= 1
    gain = f"{1 - share:.0%} smaller than zstd" if share < 1 else "no smaller than zstd"
    reasons = [
        f"the result is {gain}" + ("" if smaller else f"; at least {1 - _SMALLER_THAN_ZSTD:.0%} would be worth it"),
        f"{outcome.receipt.hit_rate:.0%} of the sample is found in the corpus or repeats itself",
        f"reducing takes {1 / max(speed, 1e-6):.1f} times as long as gzip -6" + ("" if fast else ", which is too slow"),
    ]
    return smaller and fast, reasons
