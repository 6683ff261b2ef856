"""The commands that build and measure corpora: ``reducto corpus build|analyze``."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from corpus_builder.build import BuildOptions, BuildReport, build
from corpus_builder.catalogue import Catalogue
from corpus_builder.coverage import Analysis
from corpus_builder.images import image_layers
from corpus_builder.part_writer import PartOptions
from corpus_builder.sources import PlainSource, Trust, collect
from corpus_builder.targets import Targets
from reducto.cli.console import Progress, format_bytes
from reducto.cli.context import Context
from reducto.cli.corpus_options import add_corpus_options, add_registry_options, add_trust_options, open_corpora
from reducto.cli.reduce import encode, encode_options
from reducto.config.fields import parse_size
from reducto.corpus.reader import Corpus
from reducto.errors import UsageError
from reducto.fetch.blocking import BlockingRepository
from reducto.kernel.chunking import ChunkParams
from reducto.oci.address import RegistryAddress

_SCRATCH_PREFIX = ".corpus-build-"
_SCRATCH_GRACE_SECONDS = 60


def size(text: str) -> int:
    """The number of bytes that a text such as ``512MiB`` means. Raises `ArgumentTypeError`."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} {error}") from None


class CorpusBuild:
    """Makes a corpus, or adds to one that was made with the same catalogue."""

    def configure(self, parser: ArgumentParser) -> None:
        _add_input_options(parser)
        _add_choice_options(parser)
        _add_output_options(parser)
        add_registry_options(parser)
        add_trust_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        if arguments.target and not arguments.optimize:
            raise UsageError("--target is for --optimize only")
        chunking = ChunkParams(arguments.chunk_size or context.config.compression.chunk_size)
        _ = chunking.native  # This raises for a wrong chunk size before anything is read.
        trust = Trust(context.trust(*arguments.trust), arguments.allow_unsigned)
        signer = context.signer(arguments.sign)
        parts = PartOptions(arguments.output, chunking, arguments.split_size, signer, arguments.name)
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(_scratch(arguments.output)))
            sources = [source for path in arguments.input for source in collect(path, trust)]
            sources += _image_sources(arguments, context, scratch, stack)
            targets = _targets(arguments, sources, chunking, trust)
            options = BuildOptions(parts, arguments.max_size, targets)
            catalogue = stack.enter_context(Catalogue(arguments.catalogue or scratch / "catalogue", chunking))
            report = self._build(sources, catalogue, options, context)
        context.console.result(report.to_json(), _text(report))
        return 0

    def _build(
        self, sources: list[PlainSource], catalogue: Catalogue, options: BuildOptions, context: Context
    ) -> BuildReport:
        bars: dict[str, Progress] = {}
        with ExitStack() as stack:

            def advance(phase: str, count_bytes: int) -> None:
                if phase not in bars:
                    bars[phase] = stack.enter_context(context.console.progress(phase))
                bars[phase].advance(count_bytes)

            return build(sources, catalogue, options, advance)


def _add_input_options(parser: ArgumentParser) -> None:
    """Adds the options that name what the corpus is built from."""
    add = parser.add_argument
    add(
        "--input",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="directory, tar (also .gz, .zst), OCI layout, .rc file or any other file to build the corpus from; "
        "may be repeated",
    )
    add(
        "--image",
        action="append",
        default=[],
        metavar="REF",
        help="image in a registry to build the corpus from; may be repeated",
    )
    add(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH",
        help="platform to take from an --image of several platforms; may be repeated (default: all)",
    )


def _add_choice_options(parser: ArgumentParser) -> None:
    """Adds the options that decide which chunks are kept."""
    add = parser.add_argument
    add(
        "--max-size",
        type=size,
        metavar="SIZE",
        help="largest size of the corpus; the chunks most likely to be used are kept (default: all chunks)",
    )
    add(
        "--optimize",
        action="store_true",
        help="keep only the chunks that the --target data would use (without --target: the last input)",
    )
    add(
        "--target",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="data like those that will be pushed, for --optimize; may be repeated",
    )
    add(
        "--catalogue",
        type=Path,
        metavar="DIR",
        help="directory in which every chunk is remembered; the next build with it reads new inputs only and "
        "writes what is new into further files",
    )
    add(
        "--chunk-size",
        type=size,
        metavar="SIZE",
        help="average size of a chunk, a power of two (default: compression.chunk_size)",
    )


def _add_output_options(parser: ArgumentParser) -> None:
    """Adds the options that say how the corpus is written."""
    add = parser.add_argument
    add("--output", required=True, type=Path, metavar="FILE", help="the .rc file to write")
    add("--name", default="", help="a name that is stored in the corpus, such as golden-v1")
    add(
        "--split-size",
        type=size,
        default=64 << 30,
        metavar="SIZE",
        help="begin a new file when one holds this many plain bytes (default: 64GiB)",
    )
    add("--sign", metavar="KEY", help="sign the corpus with this private key (file or env:NAME)")


@contextmanager
def _scratch(output: Path) -> Iterator[str]:
    """Makes a temporary directory beside the corpus, because layers may be too large for the system's own.

    The directory is locked while it is used. A directory that a killed build left behind is not locked, and is
    deleted here.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    for left in output.parent.glob(f"{_SCRATCH_PREFIX}*"):
        with suppress(OSError), _locked(left):
            # A directory that is younger than 60 s may belong to a build that has not locked it yet.
            if time.time() - left.stat().st_mtime > _SCRATCH_GRACE_SECONDS:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=output.parent) as directory, _locked(Path(directory)):
        yield directory


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Holds a lock on a directory while the block runs. Raises `BlockingIOError` if another process holds one."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _image_sources(arguments: Namespace, context: Context, scratch: Path, stack: ExitStack) -> list[PlainSource]:
    """The layers of the images that ``--image`` names. Their repositories stay open until ``stack`` is closed."""
    sources: list[PlainSource] = []
    for name in arguments.image:
        repository = BlockingRepository(
            RegistryAddress.parse(name), plain_http=arguments.plain_http, ca_file=context.config.upstream.ca_file
        )
        stack.enter_context(repository)
        sources += image_layers(repository, scratch / "layers", frozenset(arguments.platform))
    return sources


def _targets(arguments: Namespace, sources: list[PlainSource], chunking: ChunkParams, trust: Trust) -> Targets | None:
    if not arguments.optimize:
        return None
    chosen = [source for path in arguments.target for source in collect(path, trust)] or sources[-1:]
    return Targets(chosen, chunking)


def _text(report: BuildReport) -> str:
    lines = [
        f"read {format_bytes(report.input_bytes)} from {report.sources} sources ({report.sources_known} known already)",
        f"kept {format_bytes(report.kept_bytes)} in {report.chunks_kept} chunks, "
        f"left out {format_bytes(report.left_out_bytes)}",
    ]
    if report.optimized:
        lines.append(f"{report.optimized['hit_rate']:.1%} of the target data are covered by exact chunks")
    lines += [f"{part['path']}: {format_bytes(part['file_bytes'])}, id {part['id']}" for part in report.parts]
    return "\n".join(lines if report.parts else [*lines, "nothing new: no file was written"])


class CorpusAnalyze:
    """Measures how much of some data corpora hold."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--test-data", action="append", required=True, type=Path, metavar="PATH",
                            help="directory, tar, OCI layout or file to measure; may be repeated")  # fmt: skip
        parser.add_argument("--measure", action="store_true", help="also encode all data to measure their reduced size")
        add_corpus_options(parser, required=True)

    def run(self, arguments: Namespace, context: Context) -> int:
        trust = Trust(context.trust(*arguments.trust), arguments.allow_unsigned)
        with ExitStack() as stack:
            corpora = stack.enter_context(open_corpora(arguments, context))
            if len({corpus.chunking for corpus in corpora}) > 1:
                raise UsageError("these corpora were cut with different chunk sizes; analyze them one by one")
            analysis = Analysis(corpora)
            progress = stack.enter_context(context.console.progress("reading"))
            for path in arguments.test_data:
                for source in collect(path, trust):
                    coverage = analysis.add(source, progress.advance)
                    if arguments.measure:
                        coverage.reduced_bytes = _reduced_bytes(source, corpora, context, progress)
        document = analysis.to_json()
        context.console.result(document, _analysis_text(document))
        return 0


def _reduced_bytes(source: PlainSource, corpora: list[Corpus], context: Context, progress: Progress) -> int:
    """The size that ``reducto compress`` would give the source's plain bytes."""
    with tempfile.TemporaryDirectory(prefix="reducto-") as spool, context.workers() as workers:
        options = encode_options(context)
        encoder, reduced = encode(source, corpora, options, Path(spool), workers.submit, progress.advance)
        encoder.close()
    return reduced.receipt.output_bytes


def _analysis_text(document: dict[str, Any]) -> str:
    whole = document["plain_bytes"] or 1
    rows = [
        ("found in the corpora", document["hit_bytes"]),
        ("repeated within the data", document["repeat_bytes"]),
        ("in files that the corpora hold in another version", document["twin_bytes"]),
        ("new", document["new_bytes"]),
    ]
    lines = [f"{format_bytes(document['plain_bytes'])} of test data:"]
    lines += [f"  {count / whole:6.1%}  {format_bytes(count).rjust(10)}  {label}" for label, count in rows]
    if document["reduced_bytes"] is not None:
        share = document["reduced_bytes"] / whole
        lines.append(f"reduced against them it takes {format_bytes(document['reduced_bytes'])} ({share:.2%})")
    lines += [
        f"{c['path']}: {c['use_rate']:.1%} of its {format_bytes(c['plain_bytes'])} were used"
        for c in document["corpora"]
    ]
    return "\n".join(lines)
