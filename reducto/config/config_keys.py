"""The schema as a flat list of keys, which loading, JSON Schema, environment variables and documentation share."""

from __future__ import annotations

import dataclasses
import enum
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reducto.config.fields import Bytes, KeySource, Seconds, parse_path, parse_seconds, parse_size
from reducto.config.schema import Config

_NUMBER = re.compile(r"\s*-?[0-9]+(\.[0-9]+)?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigKey:
    """One setting: its ``path`` of names, the type of one value (``kind``), its default, limits and documentation."""

    path: tuple[str, ...]
    kind: Any
    is_list: bool
    optional: bool
    default: Any
    doc: str
    minimum: float | None
    maximum: float | None

    @property
    def name(self) -> str:
        """The dotted name, such as ``upstream.ca_file``."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that overrides the key, such as ``REDUCTO_UPSTREAM_CA_FILE``."""
        return "_".join(("REDUCTO", *self.path)).upper()

    @property
    def reads_file(self) -> bool:
        """Whether a value names a file or directory that must exist before the program starts."""
        return self.kind is KeySource or self.name.endswith(("_file", "trusted_keys"))

    def parse(self, value: object) -> Any:
        """The typed value of what a configuration file holds. Raises `ValueError`, which says what is allowed."""
        if value is None and self.optional:
            return None
        if not self.is_list:
            return self._parse_one(value)
        if not isinstance(value, list | tuple):
            raise ValueError("must be a list")
        return tuple(self._parse_one(item) for item in value)

    def parse_text(self, text: str) -> Any:
        """The typed value of an environment variable or argument; lists are comma-separated. Raises `ValueError`."""
        if self.is_list:
            return self.parse([item.strip() for item in text.split(",") if item.strip()])
        if not text and self.optional:
            return None
        if self.kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if self.kind in (int, float) and _NUMBER.fullmatch(text):
            return self.parse(float(text) if "." in text else int(text))
        return self.parse(text)

    def _parse_one(self, value: object) -> Any:
        parsed = _PARSERS[self.kind](value) if self.kind in _PARSERS else _parse_choice(self.kind, value)
        if self.minimum is not None and parsed < self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}")
        if self.maximum is not None and parsed > self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}")
        return parsed


def _parse_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _parse_int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def _parse_float(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("must be a number")
    return float(value)


def _parse_str(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _parse_choice(kind: type[enum.StrEnum], value: object) -> Any:
    try:
        return kind(str(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(kind)}") from None


_PARSERS: dict[Any, Any] = {
    bool: _parse_bool,
    int: _parse_int,
    float: _parse_float,
    str: _parse_str,
    KeySource: _parse_str,
    Path: parse_path,
    Bytes: parse_size,
    Seconds: parse_seconds,
}


@cache
def all_keys() -> dict[str, ConfigKey]:
    """Every key of `Config` by its dotted name, in the order of the schema."""
    return {key.name: key for key in _keys_of(Config, ())}


def sections(kind: type[Any] = Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Any]]]:
    """Every section as its path and its dataclass, the root section first."""
    yield path, kind
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from sections(typing.cast("type[Any]", hint), (*path, name))


def build(kind: type[Any], values: dict[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> Any:
    """An instance of the section ``kind``: parsed ``values`` by path, and defaults for keys without a value."""
    arguments = {}
    for name, hint in typing.get_type_hints(kind).items():
        here = (*path, name)
        if dataclasses.is_dataclass(hint):
            arguments[name] = build(typing.cast("type[Any]", hint), values, here)
        elif here in values:
            arguments[name] = values[here]
    return kind(**arguments)


def _keys_of(kind: type[Any], path: tuple[str, ...]) -> Iterator[ConfigKey]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, here = hints[field.name], (*path, field.name)
        if dataclasses.is_dataclass(hint):
            yield from _keys_of(typing.cast("type[Any]", hint), here)
            continue
        is_list, optional = typing.get_origin(hint) is tuple, isinstance(hint, types.UnionType)
        if is_list or optional or typing.get_origin(hint) is typing.Union:
            optional = not is_list
            hint = typing.get_args(hint)[0]
        yield ConfigKey(path=here, kind=hint, is_list=is_list, optional=optional, **field.metadata)
