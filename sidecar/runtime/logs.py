"""Structured logs on standard error: one JSON object per event for machines, or one readable line for people.

Every line carries the fields that are bound where it is logged: `request_id` for all that a request causes, `task` for
background tasks. They are context variables, so tasks inherit them; `sidecar.runtime.offload` takes them along into
worker threads. What aiohttp, asyncio and other libraries log goes the same way.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from contextlib import AbstractContextManager
from typing import Any

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, WrappedLogger

_STANDARD = logging.getLogger("reducto.sidecar")
#: Text that stands in a readable line as it is; anything else is written as JSON, so that a line stays one line.
_SIMPLE = re.compile(r"[\w@%+,./:;*~-]+", re.ASCII)


def event(name: str, /, level: int = logging.INFO, **fields: Any) -> None:
    """Logs one event. Fields are JSON values; never pass a credential."""
    _logger.log(level, name, **fields)


def trouble(name: str, error: BaseException, /, **fields: Any) -> None:
    """Logs something that should not happen, with its trace."""
    notes = getattr(error, "__notes__", ())
    text = "; ".join([f"{type(error).__name__}: {error}", *notes])
    _logger.error(name, exc_info=error, **fields, error=text)


def bound(**fields: Any) -> AbstractContextManager[Any]:
    """Adds these fields to every line that the block logs, and to those of the tasks and workers that it starts."""
    return structlog.contextvars.bound_contextvars(**fields)


def configure(level: str, form: str) -> None:
    """Sends the log of the whole process to standard error; ``form`` is ``json`` or ``text``.

    Lines of other libraries are shown from ``warning`` on. Call once, from the command line.
    """
    handler = _StandardError()
    handler.setFormatter(_formatter(_json_line if form == "json" else _text_line))
    root = logging.getLogger()
    root.handlers[:] = [*(each for each in root.handlers if not isinstance(each, _StandardError)), handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    _STANDARD.setLevel(level.upper())


class _StandardError(logging.Handler):
    """Writes to what `sys.stderr` is at the moment, which a program that embeds this one may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


class _ProtocolFilter(logging.Filter):
    """Makes one short line of a malformed request: aiohttp's own quotes all that a stranger sent, with a trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.msg, record.args, record.levelno, record.levelname = "malformed-request", (), logging.INFO, "INFO"
            record.exc_info = None
        return True


def protocol_logger() -> logging.Logger:
    """The logger for aiohttp's servers, which tell it about requests that are not HTTP."""
    logger = _STANDARD.getChild("protocol")
    if not logger.filters:
        logger.addFilter(_ProtocolFilter())
    return logger


# -- from an event to a line


def _formatter(render: structlog.typing.Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_PROCESSORS,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )


def _add_time(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    now = time.time()
    line["time"] = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    return line


def _add_trace(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Puts an error's trace into the field ``trace``, as text."""
    error = line.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        line["trace"] = "".join(traceback.format_exception(error)).rstrip()
    return line


def _json_line(_: WrappedLogger, __: str, line: EventDict) -> str:
    return json.dumps({key: line.pop(key) for key in ("time", "level", "event")} | dict(line), default=str)


def _text_line(_: WrappedLogger, __: str, line: EventDict) -> str:
    del line["time"]  # people get the clock of their own time zone
    level, name, trace = line.pop("level"), line.pop("event"), line.pop("trace", "")
    fields = [f"{key}={_text_of(value)}" for key, value in line.items()]
    return " ".join([time.strftime("%H:%M:%S"), f"{level:7}", name, *fields]) + (f"\n{trace}" if trace else "")


def _text_of(value: Any) -> str:
    if isinstance(value, str) and _SIMPLE.fullmatch(value):
        return value
    return json.dumps(value, default=str)


_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    _add_time,
    _add_trace,
]
_logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    _STANDARD,
    [structlog.stdlib.filter_by_level, *_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)
