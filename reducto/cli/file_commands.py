"""The commands on files: ``reducto compress``, ``decompress`` and ``inspect``."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from reducto.cli.console import format_bytes
from reducto.cli.context import Context
from reducto.cli.corpus_options import add_corpus_options, open_corpora
from reducto.cli.inputs import INPUT_HELP, Input, is_pipe
from reducto.cli.reduce import LEVEL_HELP, encode, encode_options
from reducto.codec import BlobDecoder, Instructions, Receipt
from reducto.crypt import Keyring
from reducto.crypt.encrypted_file import EncryptingWriter, decrypt_file, is_encrypted
from reducto.errors import UsageError
from reducto.files import AtomicFile
from reducto.values import ByteRange

_RANGE = re.compile(r"(\d+)-(\d*)")
_KEY_HELP = "key of an encrypted .reducto file: a file, or env:NAME; may be repeated"


def load_keyring(sources: Sequence[str]) -> Keyring | None:
    """The encryption keys that ``sources`` (files or ``env:NAME``) hold; None without a source."""
    from reducto.trust.key_files import read_secret

    return Keyring.load(sources, (), read_secret) if sources else None


class Compress:
    """Writes the input in its reduced form, which refers to corpora for what they hold."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--input", required=True, metavar="F", help=INPUT_HELP)
        parser.add_argument(
            "--output", required=True, metavar="O", help="the .reducto file to write, or - for standard output"
        )
        parser.add_argument("--level", type=int, choices=range(1, 20), metavar="1-19", help=LEVEL_HELP)
        parser.add_argument("--encrypt", metavar="KEY", help="encrypt the output with this key: a file, or env:NAME")
        add_corpus_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        keyring = load_keyring([arguments.encrypt] if arguments.encrypt else [])
        options = encode_options(context, arguments.level)
        source = Input(arguments.input)
        with (
            closing(source),
            open_corpora(arguments, context) as corpora,
            context.workers() as pool,
            tempfile.TemporaryDirectory(prefix="reducto-", dir=_spool_parent(arguments.output)) as spool,
            context.console.progress("compress", source.total_bytes) as progress,
        ):
            encoder, reduced = encode(source, corpora, options, Path(spool), pool.submit, progress.advance)
            with closing(encoder), open_output(arguments.output) as out:
                if keyring is None:
                    reduced.write_file(out)
                else:
                    sealing = EncryptingWriter(out, keyring)
                    reduced.write_file(cast(BinaryIO, sealing))
                    sealing.close()
        if arguments.output == "-":
            context.console.note(_summary(reduced.receipt))
        else:
            context.console.result(reduced.receipt.to_json(), _summary(reduced.receipt))
        return 0


def _spool_parent(output: str) -> Path | None:
    """The directory of the output, because its disk must have enough space anyway; None if the output is a pipe."""
    return None if is_pipe(output) else Path(output).absolute().parent


@contextmanager
def open_output(path: str) -> Iterator[BinaryIO]:
    """Opens the output: a file appears complete or not at all, a pipe receives the bytes as they are made."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif is_pipe(path):
        with Path(path).open("wb") as pipe:
            yield pipe
    else:
        # Not durable means without fsync, as with cp and zstd: the system writes the file to the disk later.
        with AtomicFile(path, durable=False) as target:
            yield target.file
            target.publish()


def _summary(receipt: Receipt) -> str:
    share = receipt.output_bytes / max(receipt.wire_bytes, 1)
    rate = receipt.wire_bytes / max(receipt.seconds, 1e-6)
    return (
        f"{format_bytes(receipt.wire_bytes)} -> {format_bytes(receipt.output_bytes)} ({share:.2%}), "
        f"{receipt.hit_rate:.1%} found in corpora or repeated, proved, {format_bytes(rate)}/s"
    )


@contextmanager
def open_reduced(name: str, keys: Sequence[str]) -> Iterator[memoryview]:
    """The bytes of a `.reducto` file, mapped into memory.

    Standard input is copied to a temporary file first, and an encrypted file is decrypted to one.
    """
    with ExitStack() as stack:
        source = stack.enter_context(_copied_input() if name == "-" else _open(name))
        head = source.read(8)
        source.seek(0)
        if is_encrypted(head):
            keyring = load_keyring(keys)
            if keyring is None:
                raise UsageError(f"{name} is encrypted; give its key with --key")
            scratch = stack.enter_context(tempfile.TemporaryFile())
            decrypt_file(source, keyring, scratch)
            scratch.flush()
            source = scratch
        length = source.seek(0, os.SEEK_END)
        yield memoryview(mmap.mmap(source.fileno(), length, access=mmap.ACCESS_READ)) if length else memoryview(b"")


def _open(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None


def _copied_input() -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    file.seek(0)
    return file


class Decompress:
    """Rebuilds the original of a `.reducto` file, or a range of its bytes."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--input", required=True, metavar="F", help="the .reducto file to read, or - for standard input"
        )
        parser.add_argument("--output", required=True, metavar="O", help="file to write, or - for standard output")
        parser.add_argument(
            "--range", metavar="FIRST-LAST", help="rebuild only these bytes, counted from 0, LAST included"
        )
        parser.add_argument("--key", action="append", default=[], metavar="KEY", help=_KEY_HELP)
        add_corpus_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        with (
            open_corpora(arguments, context) as corpora,
            open_reduced(arguments.input, arguments.key) as data,
            context.workers() as pool,
            tempfile.TemporaryDirectory(prefix="reducto-", dir=_spool_parent(arguments.output)) as spool,
        ):
            decoder = BlobDecoder(data, {corpus.id: corpus for corpus in corpora}, spool, pool.submit)
            span = _span(arguments.range, decoder.wire_length)
            with (
                closing(decoder),
                open_output(arguments.output) as out,
                context.console.progress("decompress", len(span)) as progress,
            ):
                if len(span) == decoder.wire_length and not is_pipe(arguments.output):
                    decoder.write_file(out.fileno(), progress.advance)
                else:
                    for piece in decoder.rebuild(span):
                        out.write(piece)
                        progress.advance(len(piece))
        if arguments.output != "-":
            text = f"{format_bytes(len(span))} written to {arguments.output}, verified"
            context.console.result({"output_bytes": len(span), "range": [span.start, span.stop]}, text)
        return 0


def _span(text: str | None, length: int) -> ByteRange:
    if text is None:
        return ByteRange(0, length)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UsageError(f"--range {text}: give FIRST-LAST or FIRST-, as in 0-1023")
    first = int(match[1])
    last = min(int(match[2]), length - 1) if match[2] else length - 1
    if first > last:
        raise UsageError(f"--range {text}: the file has {length} bytes")
    return ByteRange(first, last + 1)


class Inspect:
    """Shows what a `.reducto` file is made of and which corpora it needs."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the .reducto file to show")
        parser.add_argument("--key", action="append", default=[], metavar="KEY", help=_KEY_HELP)

    def run(self, arguments: Namespace, context: Context) -> int:
        with open_reduced(arguments.file, arguments.key) as data:
            parsed = Instructions.parse(data)
            decoder = BlobDecoder(data, {})
            with closing(decoder):
                needs = list(decoder.needs)
        meta = parsed.meta
        document = {
            "encoder": meta.encoder,
            "wire_bytes": meta.wire_length,
            "wire_blake3": meta.wire_blake3,
            "digest": str(meta.wire_digest) if meta.wire_digest else None,
            "plain_bytes": meta.plain_length,
            "operations": len(parsed.operations),
            "recipe_bytes": len(parsed.recipe),
            "embedded_bytes": len(parsed.packed or b""),
            "needs": needs,
        }
        text = "\n".join(
            f"{key:15} {', '.join(value) if isinstance(value, list) else value}" for key, value in document.items()
        )
        context.console.result(document, text)
        return 0
