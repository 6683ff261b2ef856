"""The audit log: its chain, its checkpoints, its writer, and every way to tamper with it."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reducto.errors import Corrupt, UsageError
from reducto.trust import audit_chain
from reducto.trust.audit_chain import AuditBroken, AuditReport, Head
from reducto.trust.signatures import Signer, TrustStore
from sidecar.middleware import audit_log
from sidecar.middleware.audit_log import AuditFile, AuditLog

SIGNER = Signer.generate()
TRUST = TrustStore.of(SIGNER)


def write(path: Path, count: int, signer: Signer | None = SIGNER, **options) -> None:
    log = AuditLog(AuditFile(path, options.pop("max_file_bytes", 1 << 30)), signer=signer, **options)
    for number in range(count):
        log.record({"action": "pull", "number": number})
    log.close()


def check(*paths: Path, trust: TrustStore | None = TRUST) -> AuditReport:
    return audit_chain.verify([(path.name, path.read_bytes().splitlines(keepends=True)) for path in paths], trust)


def test_lines_are_chained_and_signed(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 5)
    report = check(path)
    assert (report.lines, report.first_seq, report.head.seq) == (7, 0, 6)
    assert (report.checkpoints, report.unsigned_tail) == (2, 0), "one at the start, one at the end"
    assert report.last_checkpoint_time is not None
    assert (datetime.now(UTC) - report.last_checkpoint_time).total_seconds() < 60
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["event"].get("number") for entry in entries if entry["kind"] == "event"] == [0, 1, 2, 3, 4]
    assert entries[0]["prev"] == audit_chain.ORIGIN


def test_the_line_format_is_forever() -> None:
    line, head = audit_chain.write_line(Head(), "event", {"b": "é", "a": 1}, "2026-11-22T10:37:00.123Z")
    assert line == (
        b'{"event":{"a":1,"b":"\\u00e9"},"kind":"event","prev":"' + b"0" * 64
        + b'","seq":0,"time":"2026-11-22T10:37:00.123Z"}'
    )  # fmt: skip
    assert head == Head(0, hashlib.sha256(line).hexdigest())


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[bytes]:
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    write(path, 4)
    return path.read_bytes().splitlines(keepends=True)


def test_no_bit_of_any_line_can_change(lines: list[bytes]) -> None:
    whole = b"".join(lines)
    for bit in range(len(whole) * 8 - 8):  # for the last newline see the torn lines below
        forged = bytearray(whole)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuditBroken):
            audit_chain.verify([("log", io.BytesIO(forged))], TRUST)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [lines[0], lines[1], *lines[1:]],
        lambda lines: [*lines[:3], b"not json\n", *lines[3:]],
        lambda lines: [*lines[:3], b"\n", *lines[3:]],
        lambda lines: [*lines[:3], b"torn\n"],
        lambda lines: [lines[1].replace(b'"seq":1', b'"seq":0'), *lines[2:]],
    ],
)
def test_lines_cannot_be_dropped_moved_repeated_or_inserted(lines: list[bytes], change) -> None:
    with pytest.raises(AuditBroken):
        audit_chain.verify([("log", change(list(lines)))], TRUST)


def test_a_log_written_anew_lacks_a_trusted_checkpoint(tmp_path) -> None:
    write(tmp_path / "forged.jsonl", 4, Signer.generate())
    with pytest.raises(AuditBroken, match="not trusted"):
        check(tmp_path / "forged.jsonl")
    write(tmp_path / "unsigned.jsonl", 4, None)
    assert check(tmp_path / "unsigned.jsonl").checkpoints == 0


def test_a_checkpoint_cannot_be_moved(lines: list[bytes], tmp_path) -> None:
    genuine = json.loads(lines[-1])
    head = Head()
    forged = []
    for kind, event in (("event", {"action": "nothing happened"}), ("checkpoint", genuine["event"])):
        line, head = audit_chain.write_line(head, kind, event, genuine["time"])
        forged.append(line + b"\n")
    with pytest.raises(AuditBroken, match="wrong"):
        audit_chain.verify([("log", forged)], TRUST)


def test_a_cut_end_shows_in_the_unsigned_tail_and_the_checkpoints_age(lines: list[bytes]) -> None:
    report = audit_chain.verify([("log", lines[:-1])], TRUST)
    assert report.unsigned_tail == 4
    assert report.last_checkpoint_seq == 0


def test_rotation_continues_the_chain(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    for _ in range(3):
        write(path, 50, max_file_bytes=1)
    rotated = sorted(tmp_path.glob("audit-*.jsonl"))
    assert len(rotated) >= 3
    report = check(*rotated, path)
    assert (report.first_seq, report.lines) == (0, report.head.seq + 1)
    assert check(*rotated[1:], path).first_seq > 0, "older files may be archived"
    with pytest.raises(AuditBroken, match="is missing"):
        check(rotated[0], *rotated[2:], path)


def test_a_file_moved_away_by_others_is_followed(tmp_path) -> None:
    path, moved = tmp_path / "audit.jsonl", tmp_path / "moved"
    log = AuditLog(AuditFile(path), signer=SIGNER)
    log.record({"n": 1})
    wait_for(lambda: path.read_bytes().count(b"\n") >= 2)
    path.rename(moved)
    log.record({"n": 2})
    log.close()
    assert check(moved, path).lines == 4


def test_a_restart_continues_the_chain(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    for _ in range(3):
        write(path, 2)
    assert check(path).lines == 12


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_a_torn_line_is_accounted_for(tmp_path, cut: int) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 3, None)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    torn = check(path, trust=None)
    assert (torn.lines, torn.torn_tail_bytes > 0) == (2, True), "a torn end alone is no tampering"
    write(path, 2, None)
    report = check(path, trust=None)
    assert report.recovered == (0 if cut == 1 else 1)
    assert report.lines == 5
    assert whole[:-cut] in path.read_bytes(), "what was written is never removed"


def test_a_torn_first_line_is_accounted_for(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"event":{"ac')
    write(path, 2, None)
    report = check(path, trust=None)
    assert (report.recovered, report.lines, report.first_seq) == (1, 3, 0)


def test_a_process_that_dies_while_it_recovers(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 3, None)
    path.write_bytes(path.read_bytes()[:-20] + b'\n{"event":{"torn_by')
    write(path, 1, None)
    report = check(path, trust=None)
    assert (report.recovered, report.lines, report.torn_tail_bytes) == (1, 4, 0)


def test_a_recovery_cannot_hide_a_changed_line(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    write(path, 3, None)
    path.write_bytes(path.read_bytes()[:-20])
    write(path, 1, None)
    forged = path.read_bytes().replace(b'"number":2', b'"number":3')
    with pytest.raises(AuditBroken, match="no recovery accounts for it"):
        audit_chain.verify([("log", forged.splitlines(keepends=True))])


def test_nothing_is_appended_to_what_is_not_an_audit_log(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"some other log\n")
    with pytest.raises(Corrupt, match="does not end like an audit log"):
        AuditFile(path)
    path.write_bytes(b"x" * 600_000)
    with pytest.raises(Corrupt, match="does not end like an audit log"):
        AuditFile(path)


def test_two_processes_do_not_share_a_file(tmp_path) -> None:
    first = AuditFile(tmp_path / "audit.jsonl")
    with pytest.raises(UsageError, match="another process"):
        AuditFile(tmp_path / "audit.jsonl")
    first.close()


def test_a_killed_writer_leaves_a_log_that_goes_on(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    script = (
        "import sys,pathlib;from sidecar.middleware.audit_log import *\n"
        "log=AuditLog(AuditFile(pathlib.Path(sys.argv[1])));print('up',flush=True)\n"
        "while True: log.record({'text':'x'*500})\n"
    )
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
        process.stdout.readline()
        before = path.stat().st_size
        wait_for(lambda before=before: path.stat().st_size > before + 100_000)
        process.kill()
        process.wait()
        process.stdout.close()
    write(path, 1, None)
    assert check(path, trust=None).lines > 1000


def test_a_full_disk_is_reported_and_loses_nothing_that_fits_the_queue(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(audit_log, "RETRY_SECONDS", 0.02)
    path, full, troubles = tmp_path / "audit.jsonl", [True], []
    real_write = os.write

    def write_or_fail(descriptor: int, data: bytes) -> int:
        if full[0]:
            real_write(descriptor, data[: len(data) // 2])  # the disk fills in the middle of a line
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", write_or_fail)
    log = AuditLog(AuditFile(path), on_trouble=troubles.append, queue_limit_events=10)
    log.record({"n": 0})
    wait_for(lambda: log.problem)
    assert "No space left" in log.problem
    for number in range(1, 31):
        log.record({"n": number})
    assert path.read_bytes() == b""
    full[0] = False
    wait_for(lambda: not log.problem)
    log.close()
    assert len(troubles) == 1, "one alert, not one a second"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    events = [entry["event"]["n"] for entry in entries if entry["kind"] == "event"]
    lost = sum(entry["event"]["events"] for entry in entries if entry["kind"] == "lost")
    assert events == list(range(len(events)))
    assert len(events) + lost == 31
    assert len(events) >= 10
    assert check(path, trust=None).lines == len(entries)


def test_an_oversized_event_becomes_a_note(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditFile(path))
    log.record({"user_agent": "x" * audit_chain.LINE_LIMIT_BYTES})
    log.close()
    (entry,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert entry["event"]["bytes"] > audit_chain.LINE_LIMIT_BYTES
    assert check(path, trust=None).lines == 1


def test_lines_go_to_a_stream_too() -> None:
    class Kept(io.BytesIO):
        def close(self) -> None:
            pass

    stream = Kept()
    log = AuditLog(None, stream, SIGNER, checkpoint_seconds=0.05)
    log.record({"n": 1})
    time.sleep(0.3)
    log.close()
    report = audit_chain.verify([("stdout", stream.getvalue().splitlines(keepends=True))], TRUST)
    assert report.checkpoints >= 3, "checkpoints come even when nothing happens"
    assert AuditLog.open(None, False, SIGNER) is None


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)
