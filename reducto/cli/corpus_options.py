"""The options by which a command is given corpora, and the corpora that they name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reducto.cli.context import Context
from reducto.corpus.reader import Corpus
from reducto.fetch.local import local_files

if TYPE_CHECKING:
    from reducto.fetch.blocking import Advance
    from reducto.fetch.corpora import CorpusFinder

CORPUS_HELP = "corpus to use: a file, a directory, a name, an oci:// or https:// address; may be repeated"


def add_corpus_options(parser: ArgumentParser, *, required: bool = False) -> None:
    """Adds ``--corpus`` and the options that say which corpora are trusted and how registries are reached."""
    parser.add_argument("--corpus", action="append", required=required, default=[], metavar="NAME", help=CORPUS_HELP)
    add_trust_options(parser)
    add_registry_options(parser)


def add_trust_options(parser: ArgumentParser) -> None:
    """Adds the options that say which corpora are trusted."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="KEY",
        help="public key (a PEM file, or a directory of them) whose signature is accepted; may be repeated",
    )
    parser.add_argument("--allow-unsigned", action="store_true", help="also use corpora without a signature")


def add_registry_options(parser: ArgumentParser) -> None:
    """Adds the options that say how registries are reached."""
    parser.add_argument(
        "--plain-http",
        action="store_true",
        default=None,
        help="use http:// for every registry (default: only for registries on this machine)",
    )


def finder(arguments: Namespace, context: Context, advance: Advance = lambda _: None) -> CorpusFinder:
    """A finder that looks up and downloads corpora as the configuration and the options say.

    It calls ``advance`` with the number of bytes whenever some have arrived.
    """
    from reducto.fetch.corpora import CorpusFinder  # Imported here: that takes longer than compressing a small file.

    return CorpusFinder(
        context.config.corpus,
        ca_file=context.config.upstream.ca_file,
        plain_http=arguments.plain_http,
        note=context.console.note,
        advance=advance,
    )


def corpus_files(names: Iterable[str], arguments: Namespace, context: Context) -> list[Path]:
    """The files that ``--corpus`` arguments name, each once. Corpora that are not on this machine are downloaded."""
    found = cache(lambda: finder(arguments, context))
    files = [path for name in names for path in local_files(name) or found().find(name)]
    return list(dict.fromkeys(files))


@contextmanager
def open_corpora(arguments: Namespace, context: Context) -> Iterator[list[Corpus]]:
    """Opens and verifies the corpora that ``--corpus`` names. Raises what `Corpus.open` and `find` raise."""
    trust = context.trust(*arguments.trust)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Corpus.open(
                    path,
                    trust=trust,
                    allow_unsigned=arguments.allow_unsigned,
                    memory_mapped=context.config.corpus.memory_mapped,
                )
            )
            for path in corpus_files(arguments.corpus, arguments, context)
        ]
