"""``reducto corpus verify|inspect``: what can be asked of a corpus file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from reducto.cli.console import format_bytes
from reducto.cli.context import Context
from reducto.corpus.layout import SEGMENT_BYTES
from reducto.corpus.reader import Corpus
from reducto.errors import UsageError
from reducto.model import ByteRange


def add_trust_options(parser: ArgumentParser) -> None:
    """The options by which a command learns which corpora to believe."""
    parser.add_argument(
        "--trusted-key",
        action="append",
        default=[],
        metavar="FILE",
        help="public key (PEM file or directory of them) whose signature is believed; may be repeated",
    )
    parser.add_argument("--allow-unsigned", action="store_true", help="use corpora that nobody signed")


def corpus_files(arguments: list[str]) -> list[Path]:
    """The files that ``--corpus`` arguments name: files themselves, every ``.rc`` of directories."""
    files: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        found = sorted(path.glob("*.rc")) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"{path} holds no .rc files")
        files += found
    return files


def describe(corpus: Corpus) -> dict[str, Any]:
    """What is known of an open corpus, as JSON."""
    return {
        "path": str(corpus.path),
        "id": corpus.id,
        "name": corpus.info.name,
        "annotations": dict(corpus.info.annotations),
        "plain_bytes": corpus.plain_length,
        "file_bytes": corpus.path.stat().st_size,
        "chunks": len(corpus.index),
        "hooks": len(corpus.hooks),
        "paths": len(corpus.paths),
        "chunk_average_bytes": corpus.chunking.average_bytes,
        "dictionary_bytes": len(corpus.dictionary),
        "root": corpus.root.hex(),
        "signed_by": corpus.signature.key_id if corpus.signature else None,
        "signature_checked": corpus.signature_checked,
        "section_bytes": corpus.section_lengths(),
    }


class Inspect:
    """Shows what corpora hold, without reading their plain bytes."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--corpus", action="append", required=True, metavar="PATH", help="file or directory")
        add_trust_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        trust = context.trust(*arguments.trusted_key)
        documents = []
        for path in corpus_files(arguments.corpus):
            # To look at a corpus is not to use it: an unsigned one is shown as such.
            with Corpus.open(path, trust=trust, allow_unsigned=True) as corpus:
                documents.append(describe(corpus))
        context.console.result({"corpora": documents}, "\n\n".join(map(_text, documents)))
        return 0


class Verify:
    """Checks every byte of corpora and their signatures."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--corpus", action="append", required=True, metavar="PATH", help="file or directory")
        add_trust_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        trust = context.trust(*arguments.trusted_key)
        paths = corpus_files(arguments.corpus)
        documents = []
        for path in paths:
            with (
                Corpus.open(path, trust=trust, allow_unsigned=arguments.allow_unsigned) as corpus,
                context.console.progress(f"verifying {path.name}", corpus.plain_length) as progress,
                context.workers() as workers,
            ):
                for start in range(0, corpus.plain_length, 64 * SEGMENT_BYTES):
                    span = ByteRange(start, min(start + 64 * SEGMENT_BYTES, corpus.plain_length))
                    corpus.ensure([span], workers.submit)
                    progress.advance(len(span))
                documents.append(describe(corpus))
        lines = [f"{d['path']}: good, {format_bytes(d['plain_bytes'])}, {_signature_text(d)}" for d in documents]
        context.console.result({"verified": documents}, "\n".join(lines))
        return 0


def _signature_text(document: dict[str, Any]) -> str:
    if not document["signed_by"]:
        return "not signed"
    return f"signed by {document['signed_by']}" + ("" if document["signature_checked"] else " (not checked)")


def _text(document: dict[str, Any]) -> str:
    rows = {
        "corpus": document["path"],
        "id": document["id"],
        "name": document["name"] or "-",
        "plain bytes": f"{document['plain_bytes']} ({format_bytes(document['plain_bytes'])})",
        "file bytes": f"{document['file_bytes']} ({format_bytes(document['file_bytes'])})",
        "chunks": f"{document['chunks']} of {format_bytes(document['chunk_average_bytes'])} on average",
        "hooks": document["hooks"],
        "paths": document["paths"],
        "dictionary": format_bytes(document["dictionary_bytes"]),
        "signature": _signature_text(document),
        **{f"  {key}": value for key, value in document["annotations"].items()},
    }
    width = max(map(len, rows))
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows.items())
