"""Structured logs: one JSON object (or one readable line) per event, on standard error."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

_LOGGER = logging.getLogger("reducto.sidecar")


def event(name: str, /, level: int = logging.INFO, **fields: Any) -> None:
    """Logs one event. Fields are plain values; never pass a credential."""
    _LOGGER.log(level, name, extra={"fields": fields})


def trouble(name: str, error: BaseException, /, **fields: Any) -> None:
    """Logs something that should not happen, with its trace."""
    _LOGGER.error(name, exc_info=error, extra={"fields": {**fields, "error": f"{type(error).__name__}: {error}"}})


def configure(level: str, form: str) -> None:
    """Sends the log to standard error. Call once, from the command line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(level.upper())


class _WithoutWhatWasSent(logging.Filter):
    """Makes one short line of a malformed request: aiohttp's own quotes all that a stranger sent, with a trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.msg, record.args, record.levelno, record.levelname = "malformed-request", (), logging.INFO, "INFO"
            record.exc_info = None
        return True


def protocol_logger() -> logging.Logger:
    """For aiohttp: what it says of requests that are no HTTP."""
    logger = _LOGGER.getChild("protocol")
    if not logger.filters:
        logger.addFilter(_WithoutWhatWasSent())
    return logger


class JsonFormatter(logging.Formatter):
    """For machines: one object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, "fields", {}).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()} {fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
