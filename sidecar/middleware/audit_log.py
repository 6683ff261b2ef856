"""Writes the audit log: a file of JSON lines, linked by hashes into a chain that goes on after rotation and crashes.

`AuditLog.record` never blocks. One thread writes all queued events at once and syncs them to disk, so a line is durable
some milliseconds after its event, and a process that is killed loses at most the events of these milliseconds. While
the disk takes no lines, the sidecar is not ready (`AuditLog.problem`), and events beyond the queue's limit are counted
in a line of kind ``lost`` as soon as a line can be written. The format is in `reducto.trust.audit_chain`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from reducto.errors import Corrupt, UsageError
from reducto.trust import audit_chain
from reducto.trust.audit_chain import Head
from reducto.trust.signatures import Signer

#: Events beyond this many in the queue are lost, and counted.
QUEUE_LIMIT_EVENTS = 10_000
#: The most events that are written and synced at once.
BATCH_LIMIT_EVENTS = 1_000
#: The pause after a write that failed.
RETRY_SECONDS = 1.0
MAX_FILE_BYTES = 256 << 20
CHECKPOINT_SECONDS = 300.0
_LINE_START = b'{"event":'


class AuditFile:
    """The file that lines are appended to, with a lock on it. Used by one thread.

    Raises `UsageError` when another process has the lock, `Corrupt` when the file does not end like an audit log.
    """

    def __init__(self, path: Path, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        self.path = path
        self.head = Head()
        self._max_file_bytes = max_file_bytes
        self._descriptor = -1
        self._length = 0
        self._first_seq = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()
        try:
            self._resume()
        except BaseException:
            self.close()
            raise

    def append(self, lines: bytes) -> None:
        """Appends whole lines and syncs them to disk. On failure the file is as it was, and `OSError` is raised."""
        self._reopen_if_moved()
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:])
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._length)
            raise
        self._length += len(lines)

    def rotate_when_full(self) -> None:
        """Renames a full file to ``<stem>-<number of its first line><suffix>`` and begins a new one.

        The hash chain goes on in the new file.
        """
        if self._length < self._max_file_bytes:
            return
        self.path.rename(self.path.with_name(f"{self.path.stem}-{self._first_seq:012d}{self.path.suffix}"))
        self._reopen_if_moved()

    def close(self) -> None:
        """Closes the file. A second call has no effect."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self.close()
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise UsageError(f"another process writes the audit log {self.path}; give each its own file") from None
        self._length = os.fstat(self._descriptor).st_size
        if self._length == 0:
            self._first_seq = self.head.seq + 1

    def _reopen_if_moved(self) -> None:
        """Opens the path again if the file was moved away, by logrotate or by `rotate_when_full`."""
        try:
            here, there = os.fstat(self._descriptor), os.stat(self.path)
            moved = (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)
        except OSError:
            moved = True
        if moved:
            self._open()

    def _resume(self) -> None:
        """Finds the end of the chain, and handles a line that was torn when the last process died.

        A torn line that is whole except for its newline gets the newline. Any other one is left as it is, and a line of
        kind ``recovered`` after it has its hash.
        """
        if self._length == 0:
            older = sorted(self.path.parent.glob(f"{self.path.stem}-{'[0-9]' * 12}{self.path.suffix}"))
            if older:
                self.head, _ = _tail(older[-1])
            self._first_seq = self.head.seq + 1
            return
        self.head, torn = _tail(self.path)
        with self.path.open("rb") as file:
            first = audit_chain.parse_line(file.readline(audit_chain.LINE_LIMIT_BYTES + 1).removesuffix(b"\n"))
        self._first_seq = first["seq"] if first else 0
        if not torn:
            return
        entry = None if b"\n" in torn else audit_chain.parse_line(torn)
        if entry is not None and entry["prev"] == self.head.line_hash:
            self.append(b"\n")
            self.head = Head(entry["seq"], audit_chain.line_hash(torn))
            return
        line, head = audit_chain.recovered(self.head, torn)
        self.append(b"\n" + line + b"\n")
        self.head = head


def _tail(path: Path) -> tuple[Head, bytes]:
    """The last whole line's place in the chain, and the bytes of a torn line after it.

    The torn bytes may contain a newline, if a process died while it recovered from an earlier torn line. Raises
    `Corrupt` when the file does not end like an audit log, because nothing may be appended to such a file.
    """
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - 4 * audit_chain.LINE_LIMIT_BYTES)
        file.seek(start)
        content = file.read()
    end = len(content)
    while (newline := content.rfind(b"\n", 0, end)) >= 0:
        line_start = content.rfind(b"\n", 0, newline) + 1
        entry = audit_chain.parse_line(content[line_start:newline])
        if entry is not None:
            return Head(entry["seq"], audit_chain.line_hash(content[line_start:newline])), content[newline + 1 :]
        end = newline
    if start or not _LINE_START.startswith(content[: len(_LINE_START)]):
        raise Corrupt(f"{path} does not end like an audit log; check it with reducto audit verify, then move it away")
    return Head(), content


class AuditLog:
    """Takes events from any thread, and writes them to a file, to a stream, or to both.

    With a signer it also writes a signed checkpoint every ``checkpoint_seconds``, and one at the end. ``on_trouble``
    gets the first error of each row of failed writes.
    """

    def __init__(
        self,
        file: AuditFile | None,
        stream: BinaryIO | None = None,
        signer: Signer | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        on_trouble: Callable[[OSError], None] = lambda _: None,
        queue_limit_events: int = QUEUE_LIMIT_EVENTS,
    ) -> None:
        self._file, self._stream, self._signer = file, stream, signer
        self._head = file.head if file else Head()
        self._checkpoint_seconds = checkpoint_seconds
        self._checkpoint_due = 0.0
        self._on_trouble = on_trouble
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(queue_limit_events)
        self._lost = 0
        self._lost_lock = threading.Lock()
        self._closing = threading.Event()
        self.problem = ""
        """Why lines cannot be written now; empty when they can. The readiness check shows it."""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        path: Path | None,
        stdout: bool,
        signer: Signer | None,
        max_file_bytes: int = MAX_FILE_BYTES,
        **options: Any,
    ) -> AuditLog | None:
        """The log that the configuration asks for; None if it asks for no log.

        Raises `UsageError`, `Corrupt`, `OSError`.
        """
        if path is None and not stdout:
            return None
        return cls(
            AuditFile(path, max_file_bytes) if path else None, sys.stdout.buffer if stdout else None, signer, **options
        )

    def record(self, event: dict[str, Any]) -> None:
        """Queues one event. Its values must be JSON values, and must not contain credentials."""
        try:
            self._queue.put_nowait({"time": audit_chain.timestamp(), "event": event})
        except queue.Full:
            with self._lost_lock:
                self._lost += 1

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Writes the queued events and a last checkpoint, then ends the thread. Blocks, at most for the timeout."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(timeout_seconds)
        if self._file is not None and not self._thread.is_alive():
            self._file.close()

    def _run(self) -> None:
        self._write_until_done([])
        while True:
            batch, ended = self._next_batch()
            self._write_until_done(batch, closing=ended)
            if ended:
                return

    def _next_batch(self) -> tuple[list[dict[str, Any]], bool]:
        """The queued events, once there is one or a checkpoint is due; and whether the log was closed."""
        batch: list[dict[str, Any]] = []
        wait: float | None = max(0.0, self._checkpoint_due - time.monotonic()) if self._signer else None
        try:
            item = self._queue.get(timeout=wait)
            while True:
                if item is None:
                    return batch, True
                batch.append(item)
                if len(batch) >= BATCH_LIMIT_EVENTS:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch, self._closing.is_set() and self._queue.empty()

    def _write_until_done(self, batch: list[dict[str, Any]], closing: bool = False) -> None:
        while True:
            with self._lost_lock:
                lost = self._lost
            lines, head, signed = self._lines_of(batch, lost, closing)
            try:
                if lines:
                    self._write(lines, head)
            except OSError as error:
                if not self.problem:
                    self._on_trouble(error)
                self.problem = f"the audit log cannot be written: {error.strerror or error}"
                if self._closing.wait(RETRY_SECONDS):
                    return
                continue
            self._head, self.problem = head, ""
            if signed:
                self._checkpoint_due = time.monotonic() + self._checkpoint_seconds
            with self._lost_lock:
                self._lost -= lost
            return

    def _lines_of(self, batch: list[dict[str, Any]], lost: int, closing: bool) -> tuple[bytes, Head, bool]:
        head, lines = self._head, []
        for item in batch:
            line, head = audit_chain.write_line(head, "event", item["event"], item["time"])
            lines.append(line)
        if lost:
            line, head = audit_chain.write_line(head, "lost", {"events": lost})
            lines.append(line)
        signed = self._signer is not None and (closing or time.monotonic() >= self._checkpoint_due)
        if signed and self._signer is not None:
            line, head = audit_chain.checkpoint(head, self._signer)
            lines.append(line)
        return b"".join(line + b"\n" for line in lines), head, signed

    def _write(self, lines: bytes, head: Head) -> None:
        if self._file is not None:
            self._file.append(lines)
            self._file.head = head
            self._file.rotate_when_full()
        if self._stream is not None:
            self._stream.write(lines)
            self._stream.flush()
