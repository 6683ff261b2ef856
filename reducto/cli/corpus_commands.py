"""The commands on corpus files: ``reducto corpus verify|inspect|push|fetch``."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from reducto.cli.console import format_bytes
from reducto.cli.context import Context
from reducto.cli.corpus_options import add_corpus_options, add_registry_options, add_trust_options, corpus_files, finder
from reducto.corpus.corpus_format import SEGMENT_BYTES
from reducto.corpus.reader import Corpus
from reducto.errors import Untrusted, UsageError
from reducto.fetch.artifact import push
from reducto.files import copy_file
from reducto.oci.address import RegistryAddress
from reducto.values import ByteRange


def describe(corpus: Corpus) -> dict[str, Any]:
    """The properties of an open corpus, as a JSON object."""
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


class CorpusInspect:
    """Shows the properties of corpora without reading their plain bytes."""

    def configure(self, parser: ArgumentParser) -> None:
        add_corpus_options(parser, required=True)

    def run(self, arguments: Namespace, context: Context) -> int:
        trust = context.trust(*arguments.trust)
        documents = []
        for path in corpus_files(arguments.corpus, arguments, context):
            # An unsigned corpus may be opened here because nothing is rebuilt from it; it is shown as not signed.
            with Corpus.open(path, trust=trust, allow_unsigned=True) as corpus:
                documents.append(describe(corpus))
        context.console.result({"corpora": documents}, "\n\n".join(map(_text, documents)))
        return 0


class CorpusVerify:
    """Checks every byte of corpora against the hashes that their signatures cover."""

    def configure(self, parser: ArgumentParser) -> None:
        add_corpus_options(parser, required=True)

    def run(self, arguments: Namespace, context: Context) -> int:
        trust = context.trust(*arguments.trust)
        paths = corpus_files(arguments.corpus, arguments, context)
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


class CorpusPush:
    """Stores corpora in a registry as one artifact."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--to", required=True, metavar="ADDRESS", help="address to push to, as oci://host/repository:tag"
        )
        parser.add_argument(
            "--level",
            type=int,
            choices=range(1, 20),
            metavar="1-19",
            help="zstd level (default: compression.compression_level)",
        )
        add_corpus_options(parser, required=True)

    def run(self, arguments: Namespace, context: Context) -> int:
        if RegistryAddress.parse(arguments.to).tag is None:
            raise UsageError(f"{arguments.to} names a digest; a corpus is pushed under a tag")
        with ExitStack() as stack:
            repository = stack.enter_context(finder(arguments, context).repository(arguments.to))
            corpora = [
                # Packing verifies the bytes. The signer is not checked here, because those who fetch the corpus do.
                stack.enter_context(Corpus.open(path, allow_unsigned=True))
                for path in corpus_files(arguments.corpus, arguments, context)
            ]
            unsigned = [corpus.path for corpus in corpora if corpus.signature is None]
            if unsigned and not arguments.allow_unsigned:
                raise Untrusted(f"{unsigned[0]} is not signed; sign it, or pass --allow-unsigned to push it as it is")
            spool = stack.enter_context(tempfile.TemporaryDirectory(prefix="reducto-push-"))
            total = sum(corpus.plain_length for corpus in corpora)
            progress = stack.enter_context(context.console.progress("packing", total))
            workers = stack.enter_context(context.workers())
            digest = push(
                corpora,
                repository,
                level=arguments.level or context.config.compression.compression_level,
                spool_dir=Path(spool),
                submit=workers.submit,
                advance=progress.advance,
            )
        document = {"reference": str(repository.address), "digest": str(digest), "ids": [c.id for c in corpora]}
        context.console.result(document, f"pushed {len(corpora)} corpora to {repository.address} as {digest}")
        return 0


class CorpusFetch:
    """Downloads a corpus to this machine and checks it."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--corpus-id",
            required=True,
            metavar="NAME",
            help="corpus to download: a name, an oci:// or https:// address",
        )
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--local-cache",
            action="store_true",
            help="keep the corpus in the cache, corpus.cache_dir; this is the default",
        )
        where.add_argument(
            "--output", type=Path, metavar="PATH", help="also copy the corpus to this file or into this directory"
        )
        add_trust_options(parser)
        add_registry_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        trust = context.trust(*arguments.trust)
        with context.console.progress("fetching") as progress:
            found = finder(arguments, context, progress.advance).find(arguments.corpus_id)
        documents = []
        for number, path in enumerate(found, 1):
            with Corpus.open(path, trust=trust, allow_unsigned=arguments.allow_unsigned) as corpus:
                corpus.verify_all()
                documents.append(describe(corpus))
            if arguments.output:
                target = _target(arguments.output, path, number, len(found))
                copy_file(path, target)
                documents[-1]["path"] = str(target)
        lines = [f"{d['path']}: {format_bytes(d['plain_bytes'])}, {_signature_text(d)}" for d in documents]
        context.console.result({"fetched": documents}, "\n".join(lines))
        return 0


def _target(output: Path, path: Path, number: int, count: int) -> Path:
    """The path of the copy of a fetched corpus's file, which is the ``number``-th (from 1) of ``count`` files."""
    if output.is_dir():
        return output / path.name
    return output if count == 1 else output.with_name(f"{output.stem}-{number:03}{output.suffix}")


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
