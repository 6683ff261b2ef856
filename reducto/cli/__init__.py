"""The command line ``reducto``. `main` finds the command in `command_table.COMMANDS` and runs it.

Exit codes: 0 the command succeeded; 1 it failed; 2 its usage or the configuration is wrong; 3 to 9 stand with their
errors in `reducto.errors`; 130 it was interrupted; 141 the reader of its output pipe closed the pipe; 143 it was
terminated.
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reducto.cli.command_table import COMMANDS, GROUPS, CommandEntry
from reducto.cli.console import Console
from reducto.cli.context import Context
from reducto.errors import ReductoError
from reducto.version import describe

__all__ = ["main"]

_USAGE = 2
_INTERRUPTED = 130
_TERMINATED = 143
_PIPE_CLOSED = 141
_LEADING_FLAGS = ("--json", "--quiet")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. ``argv`` does not contain the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["-V"]):
        print(f"reducto {describe()}")
        return 0
    leading: list[str] = []
    while words and words[0] in _LEADING_FLAGS:
        leading.append(words.pop(0))
    entry = _find(words)
    if entry is None:
        return _no_command(words)
    return _run(entry, leading + words[len(entry.words) :])


def _find(words: Sequence[str]) -> CommandEntry | None:
    """The command whose words begin ``words``; of several, the one with the most words. None without a match."""
    matching = [e for e in COMMANDS if tuple(words[: len(e.words)]) == e.words]
    return max(matching, key=lambda e: len(e.words), default=None)


def _run(entry: CommandEntry, rest: Sequence[str]) -> int:
    command = entry.load()
    parser = argparse.ArgumentParser(prog=f"reducto {entry.name}", description=f"{entry.help.capitalize()}.")
    common = parser.add_argument_group("common options")
    common.add_argument("--json", action="store_true", help="show the result as one JSON document")
    common.add_argument("--quiet", action="store_true", help="show neither progress bars nor notes")
    common.add_argument(
        "--config", type=Path, metavar="FILE", help="read the configuration from this TOML or YAML file only"
    )
    command.configure(parser)
    try:
        arguments = parser.parse_args(rest)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else _USAGE
    console = Console(as_json=arguments.json, quiet=arguments.quiet)
    try:
        with _terminable():
            return command.run(arguments, Context(console, arguments.config))
    except BrokenPipeError:
        # Python flushes standard output at exit. With the closed pipe in its place that would raise once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except _Terminated:
        console.note("terminated")
        return _TERMINATED
    except KeyboardInterrupt:
        console.note("interrupted")
        return _INTERRUPTED
    except (ReductoError, OSError) as error:
        exit_code = getattr(error, "exit_code", 1)
        console.error(error, exit_code)
        return exit_code


class _Terminated(KeyboardInterrupt):
    """The process received SIGTERM."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM raise an exception in the block, so that its files and locks are released properly.

    A command may install a handler of its own inside the block. If a handler is installed already, or if this is not
    the main thread (only the main thread may install one), nothing changes.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: object) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _no_command(words: Sequence[str]) -> int:
    """Prints the help of all commands or of one group, or an error for an unknown command; returns the exit code."""
    asked = [word for word in words if not word.startswith("-")]
    if words and asked != list(words[: len(asked)]):
        asked = []
    group = tuple(asked[:1])
    known = [e for e in COMMANDS if e.words[: len(group)] == group]
    unknown = bool(asked) and (not known or len(asked) > 1)
    if unknown:
        name = " ".join(asked[:2] if known else asked[:1])
        nearest = difflib.get_close_matches(name, [e.name for e in COMMANDS] + list(GROUPS), 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        print(f"reducto: unknown command {name!r}{hint}", file=sys.stderr)
        return _USAGE
    if words and not asked and not set(words) <= {"-h", "--help"}:
        print(f"reducto: unknown option {words[0]!r}; options follow the command", file=sys.stderr)
        return _USAGE
    helped = bool(set(words) & {"-h", "--help"})
    print(_overview(group), file=sys.stdout if helped else sys.stderr)
    return 0 if helped else _USAGE


def _overview(group: tuple[str, ...]) -> str:
    lines = [f"usage: reducto {' '.join((*group, 'COMMAND'))} [options]", ""]
    if group:
        lines += [f"{GROUPS.get(group[0], group[0])}.".capitalize(), ""]
    rows = [(e.name, e.help) for e in COMMANDS if e.words[: len(group)] == group]
    if not group:
        rows = [row for row in rows if " " not in row[0]] + [(f"{name} ...", text) for name, text in GROUPS.items()]
    width = max((len(name) for name, _ in rows), default=0)
    lines += [f"  {name.ljust(width)}  {text}" for name, text in sorted(rows)]
    return "\n".join([*lines, "", "reducto COMMAND --help explains one command; --version shows the version."])
