"""``reducto audit verify``: checks that an audit log is complete and was not changed."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from reducto.cli.context import Context
from reducto.config.fields import parse_seconds
from reducto.errors import UsageError
from reducto.trust.audit_chain import LINE_LIMIT_BYTES, AuditBroken, AuditReport, verify


class AuditVerify:
    """Checks the hash chain of an audit log, and its signed checkpoints when there are trusted keys."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="+", type=Path, help="the audit log's files, the oldest first")
        parser.add_argument(
            "--trusted-key",
            action="append",
            default=[],
            metavar="FILE",
            help="public key that signed the checkpoints; the log must then hold checkpoints; may be repeated",
        )
        parser.add_argument(
            "--max-age",
            metavar="TIME",
            help="fail if the last checkpoint is older than this time, such as 15m: lines may be missing after it",
        )
        parser.add_argument(
            "--from-start", action="store_true", help="fail if the first file does not begin with the log's first line"
        )

    def run(self, arguments: Namespace, context: Context) -> int:
        trust = context.trust(*arguments.trusted_key)
        try:
            report = verify(((str(path), _lines(path)) for path in arguments.file), trust)
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
        last = str(arguments.file[-1])
        if arguments.from_start and report.first_seq != 0:
            raise AuditBroken(str(arguments.file[0]), f"begins with line {report.first_seq}; older files are missing")
        if (trust is not None or arguments.max_age) and not report.checkpoints:
            raise AuditBroken(last, "holds no checkpoint, so nothing proves that this is the log that was written")
        if arguments.max_age:
            _check_age(report, arguments.max_age, last)
        document = {
            "lines": report.lines,
            "first_line": report.first_seq,
            "last_line": report.head.seq,
            "head": report.head.line_hash,
            "checkpoints": report.checkpoints,
            "checkpoints_verified": trust is not None,
            "last_checkpoint": report.last_checkpoint_time.isoformat() if report.last_checkpoint_time else None,
            "unsigned_tail_lines": report.unsigned_tail,
            "recovered": report.recovered,
            "torn_tail_bytes": report.torn_tail_bytes,
        }
        context.console.result(document, _text(report, trust is not None))
        return 0


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(2 * LINE_LIMIT_BYTES):
            yield line


def _check_age(report: AuditReport, text: str, position: str) -> None:
    try:
        limit = parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"--max-age {error}") from None
    assert report.last_checkpoint_time is not None
    age = (datetime.now(UTC) - report.last_checkpoint_time).total_seconds()
    if age > limit:
        raise AuditBroken(
            position, f"the last checkpoint is {age:.0f} s old: the log's end was cut off, or its writer stopped"
        )


def _text(report: AuditReport, verified: bool) -> str:
    lines = [f"unbroken: {report.lines} lines, {report.first_seq} to {report.head.seq}"]
    state = "signatures good" if verified else "signatures not checked, because no trusted keys were given"
    lines.append(f"{report.checkpoints} checkpoints, {state}; {report.unsigned_tail} lines after the last")
    if report.recovered or report.torn_tail_bytes:
        torn = f", {report.torn_tail_bytes} bytes torn at the end" if report.torn_tail_bytes else ""
        lines.append(f"{report.recovered} lines torn by crashes and accounted for{torn}")
    return "\n".join(lines)
