"""The output of a command: its result on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from reducto.errors import ReductoError

_BAR_CELLS = 24
_REFRESH_SECONDS = 0.1
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_bytes(count: float) -> str:
    """A number of bytes in a form for people, such as ``1.5 MiB``."""
    for unit in _UNITS[:-1]:
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


class Progress:
    """A progress bar. `advance` may be called for each buffer, because the bar is redrawn at most every 0.1 s."""

    def __init__(self, stream: TextIO | None, label: str, total_bytes: int | None) -> None:
        self._stream = stream
        self._label = label
        self._total = total_bytes
        self._done = 0
        self._shown = 0.0
        self._started = time.monotonic()

    def advance(self, count_bytes: int) -> None:
        """Adds ``count_bytes`` to the bytes that are done."""
        self._done += count_bytes
        now = time.monotonic()
        if self._stream is not None and now - self._shown >= _REFRESH_SECONDS:
            self._shown = now
            self._draw(now)

    def _draw(self, now: float) -> None:
        assert self._stream is not None
        rate = self._done / max(now - self._started, 1e-3)
        text = f"{self._label}: {format_bytes(self._done)}"
        if self._total:
            share = min(self._done / self._total, 1.0)
            bar = ("#" * int(share * _BAR_CELLS)).ljust(_BAR_CELLS, ".")
            text = f"{self._label}: [{bar}] {share:4.0%} of {format_bytes(self._total)}"
        self._stream.write(f"\r\x1b[K{text}, {format_bytes(rate)}/s")
        self._stream.flush()

    def close(self) -> None:
        """Removes the bar from the screen."""
        if self._stream is not None and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class Console:
    """The two streams that a command writes to. With ``as_json`` the result is one JSON document."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    def result(self, document: Mapping[str, Any], text: str) -> None:
        """Writes the result to standard output: ``document`` with ``--json``, otherwise ``text``."""
        self._out.write((json.dumps(document, indent=2) if self.as_json else text.rstrip("\n")) + "\n")
        self._out.flush()

    def note(self, text: str) -> None:
        """Writes a note to standard error, unless the user gave ``--quiet``."""
        if not self._quiet:
            self._err.write(text.rstrip("\n") + "\n")

    def error(self, error: BaseException, exit_code: int) -> None:
        """Writes to standard error why the command failed, as JSON with ``--json``."""
        name = type(error).__name__ if isinstance(error, ReductoError) else "Failed"
        if self.as_json:
            document = {"error": {"kind": name, "message": str(error), "exit_code": exit_code}}
            self._err.write(json.dumps(document) + "\n")
        else:
            self._err.write(f"reducto: {error}\n")

    @contextmanager
    def progress(self, label: str, total_bytes: int | None = None) -> Iterator[Progress]:
        """Shows a progress bar while the block runs, if standard error is a terminal."""
        shown = self._err.isatty() and not self._quiet and not self.as_json
        progress = Progress(self._err if shown else None, label, total_bytes)
        try:
            yield progress
        finally:
            progress.close()
