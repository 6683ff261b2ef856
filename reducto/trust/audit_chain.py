"""The audit log's format, JSON lines in a hash chain, and the check of a log.

Each line is one JSON object in canonical form (sorted keys, no blanks, ASCII)::

    {"event":{...},"kind":"event","prev":"<hash of the line before>","seq":17,"time":"2026-11-22T10:37:00.123Z"}

A line's hash is the SHA-256 of its bytes without the newline; the ``prev`` of the very first line is 64 zeros. Rotated
files continue the chain. Whoever changes, inserts, drops or reorders lines breaks it. Whoever cuts off the end, or
writes the end or the whole log anew, does not. Against that there are *checkpoints*: lines whose event holds an Ed25519
signature over the sequence number, the time and ``prev``, written at intervals even when nothing happens. Lines after
the last checkpoint (`AuditReport.unsigned_tail`) are protected only by the chain.

A process that dies while it writes leaves a torn line, without a newline. The next process adds the newline. It states
the length and the hash of all bytes behind the last whole line in a line of kind ``recovered``, which continues the
chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reducto.errors import Corrupt, ReductoError
from reducto.trust.signatures import Purpose, Signer, TrustStore, message, parse_signature, signature_text

ORIGIN = "0" * 64
LINE_LIMIT_BYTES = 64 * 1024
KINDS = ("event", "checkpoint", "recovered", "lost")
_FIELDS = {"event", "kind", "prev", "seq", "time"}


class AuditBroken(Corrupt):
    """The log was changed, or a part of it is missing. ``position`` is ``file:line``."""

    def __init__(self, position: str, problem: str) -> None:
        super().__init__(f"{position}: {problem}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Head:
    """The number and the hash of a chain's last line; -1 and `ORIGIN` before the first line."""

    seq: int = -1
    line_hash: str = ORIGIN


def timestamp(now: datetime | None = None) -> str:
    """UTC with milliseconds, as in ``2026-11-22T10:37:00.123Z``."""
    return (now or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line_hash(line: bytes) -> str:
    """The hash of a line without its newline."""
    return hashlib.sha256(line).hexdigest()


def write_line(head: Head, kind: str, event: dict[str, Any], time: str | None = None) -> tuple[bytes, Head]:
    """The next line (without newline) after ``head``, and the new head.

    An event that would exceed `LINE_LIMIT_BYTES` is replaced by its hash and length, so that the chain goes on.
    """
    seq, time = head.seq + 1, time or timestamp()
    line = _encode({"event": event, "kind": kind, "prev": head.line_hash, "seq": seq, "time": time})
    if len(line) > LINE_LIMIT_BYTES:
        note = {"oversized_event_sha256": line_hash(_encode(event)), "bytes": len(line)}
        line = _encode({"event": note, "kind": kind, "prev": head.line_hash, "seq": seq, "time": time})
    return line, Head(seq, line_hash(line))


def checkpoint(head: Head, signer: Signer, time: str | None = None) -> tuple[bytes, Head]:
    """A signed line (without newline) after ``head``, and the new head."""
    time = time or timestamp()
    signature = signer.sign(_checkpoint_message(head.seq + 1, time, head.line_hash))
    event = {"key": signer.key_id, "signature": signature_text(signature)}
    return write_line(head, "checkpoint", event, time)


def recovered(head: Head, torn: bytes) -> tuple[bytes, Head]:
    """The line (without newline) that accounts for the bytes of a torn one, and the new head."""
    return write_line(head, "recovered", {"torn_bytes": len(torn), "torn_sha256": line_hash(torn)})


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The line's object, or None if the line is torn or not of this format."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or set(entry) != _FIELDS or _encode(entry) != line:
        return None
    types = (("event", dict), ("kind", str), ("prev", str), ("seq", int), ("time", str))
    whole = entry["kind"] in KINDS and all(isinstance(entry[name], kind) for name, kind in types)
    return entry if whole else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What `verify` found in an unbroken log."""

    lines: int
    first_seq: int
    head: Head
    checkpoints: int
    last_checkpoint_seq: int | None
    last_checkpoint_time: datetime | None
    recovered: int
    torn_tail_bytes: int
    """Bytes of a last line that a process began and did not finish; the next process accounts for them."""

    @property
    def unsigned_tail(self) -> int:
        """The number of lines after the last checkpoint, which no signature covers."""
        return self.head.seq - (self.first_seq - 1 if self.last_checkpoint_seq is None else self.last_checkpoint_seq)


def verify(files: Iterable[tuple[str, Iterable[bytes]]], trust: TrustStore | None = None) -> AuditReport:
    """Checks (name, lines) of the files of one log, oldest first. Lines keep their newlines.

    With ``trust`` every checkpoint's signature is checked. A log may begin anywhere in the chain, because older files
    may be archived, and may end with a torn line that no process has recovered yet. Raises `AuditBroken`, which names
    the first wrong line.
    """
    checker = _Checker(trust)
    for name, lines in files:
        for number, line in enumerate(lines, start=1):
            checker.take(f"{name}:{number}", line)
    return checker.report()


class _Checker:
    """Walks one chain."""

    def __init__(self, trust: TrustStore | None) -> None:
        self._trust = trust
        self._head: Head | None = None
        self._torn = b""
        self._torn_at = ""
        self._lines = self._checkpoints = self._recovered = self._first_seq = 0
        self._checkpoint: tuple[int, datetime] | None = None
        self._time = ""

    def take(self, position: str, raw: bytes) -> None:
        line = raw.removesuffix(b"\n")
        entry = parse_line(line) if raw.endswith(b"\n") else None
        if entry is None:
            self._torn_at = self._torn_at or position
            self._torn += raw
            if len(self._torn) > 4 * LINE_LIMIT_BYTES:
                raise AuditBroken(self._torn_at, "is not a line of an audit log")
            return
        self._check_torn(entry)
        self._check_link(position, entry)
        if entry["kind"] == "checkpoint":
            self._check_signature(position, entry)
        self._head = Head(entry["seq"], line_hash(line))
        self._lines += 1

    def _check_torn(self, entry: dict[str, Any]) -> None:
        if not self._torn_at:
            return
        torn = self._torn.removesuffix(b"\n")
        stated = {"torn_bytes": len(torn), "torn_sha256": line_hash(torn)}
        if entry["kind"] != "recovered" or entry["event"] != stated:
            raise AuditBroken(self._torn_at, "is not a line of an audit log, and no recovery accounts for it")
        self._torn, self._torn_at = b"", ""
        self._recovered += 1

    def _check_link(self, position: str, entry: dict[str, Any]) -> None:
        if self._head is None:
            self._first_seq = entry["seq"]
            if (entry["seq"] == 0) != (entry["prev"] == ORIGIN):
                raise AuditBroken(position, "claims to be the first line, and is not")
        elif entry["seq"] != self._head.seq + 1:
            raise AuditBroken(position, f"has number {entry['seq']}, {self._head.seq + 1} is missing")
        elif entry["prev"] != self._head.line_hash:
            raise AuditBroken(position, "does not follow the line before it: one of the two was changed")

    def _check_signature(self, position: str, entry: dict[str, Any]) -> None:
        try:
            time = datetime.fromisoformat(entry["time"])
            if self._trust is not None:
                signature = parse_signature(entry["event"]["signature"])
                signed = _checkpoint_message(entry["seq"], entry["time"], entry["prev"])
                self._trust.verify(entry["event"]["key"], signed, signature)
        except (KeyError, TypeError, ValueError, ReductoError) as error:
            raise AuditBroken(position, f"checkpoint: {error}") from None
        self._checkpoints += 1
        self._checkpoint = (entry["seq"], time)

    def report(self) -> AuditReport:
        if self._torn.endswith(b"\n"):
            raise AuditBroken(self._torn_at, "is not a line of an audit log")
        seq, time = self._checkpoint or (None, None)
        return AuditReport(
            lines=self._lines,
            first_seq=self._first_seq,
            head=self._head or Head(),
            checkpoints=self._checkpoints,
            last_checkpoint_seq=seq,
            last_checkpoint_time=time,
            recovered=self._recovered,
            torn_tail_bytes=len(self._torn),
        )


def _checkpoint_message(seq: int, time: str, prev: str) -> bytes:
    return message(Purpose.AUDIT, str(seq), time, prev)


def _encode(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":"), sort_keys=True).encode()
