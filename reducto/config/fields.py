"""The kinds of values that a configuration holds, and how each kind is read from text.

Sizes and durations are written with their unit (``128MiB``, ``30s``), so no key needs a unit in its name.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, NewType

#: A number of bytes. It is written ``512``, ``64KiB`` or ``20GiB``, or ``10MB`` in decimal units.
Bytes = NewType("Bytes", int)

#: A duration in seconds. It is written ``30``, ``250ms``, ``30s``, ``5m``, ``12h`` or ``7d``.
Seconds = NewType("Seconds", float)

#: Where a cryptographic key comes from: a file's path, or ``env:NAME`` for an environment variable's content.
KeySource = NewType("KeySource", str)

_SIZE_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _SIZE_UNITS |= {f"{_letter}iB": 1024**_power, f"{_letter}i": 1024**_power, f"{_letter}B": 1000**_power}
_TIME_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(B|[KMGT]iB?|[KMGT]B)?\s*$"
SECONDS_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)?\s*$"
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def option(default: Any, doc: str, *, minimum: float | None = None, maximum: float | None = None) -> Any:
    """The dataclass field of one key: its default, its sentence for the operator, and a number's inclusive range."""
    metadata = {"doc": doc, "minimum": minimum, "maximum": maximum, "default": default}
    if isinstance(default, Path):
        return dataclasses.field(default_factory=default.expanduser, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(kind: type[Any]) -> Any:
    """The dataclass field of a section inside another one. The docstring of ``kind`` documents the section."""
    return dataclasses.field(default_factory=kind)


def parse_size(value: object) -> Bytes:
    """The number of bytes that ``"128MiB"`` or a whole number means. Raises `ValueError` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Bytes(value)
    return Bytes(round(_scaled(value, _SIZE_UNITS, 'a size such as "512KiB", "128MiB" or "20GiB"')))


def parse_seconds(value: object) -> Seconds:
    """The number of seconds that ``"30s"`` or a number means. Raises `ValueError` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return Seconds(float(value))
    return Seconds(_scaled(value, _TIME_UNITS, 'a duration such as "250ms", "30s", "5m" or "12h"'))


def _scaled(value: object, units: dict[str, Any], wanted: str) -> float:
    match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"must be {wanted}")
    return float(match[1]) * float(units[match[2]])


def parse_path(value: object) -> Path:
    """The path in ``value`` with ``~`` expanded. Raises `ValueError` unless ``value`` is a string with content."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    return Path(value).expanduser()


def format_size(size: int) -> str:
    """The shortest exact spelling of a number of bytes, such as ``128MiB`` or ``1000``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return str(size)


def format_seconds(seconds: float) -> str:
    """The shortest exact spelling of a duration, such as ``12h``, ``30s`` or ``250ms``."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _TIME_UNITS[unit] == 0:
            return f"{int(seconds // _TIME_UNITS[unit])}{unit}"
    return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms" if seconds else "0s"
