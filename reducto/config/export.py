"""The schema in other forms: JSON Schema, the tables of docs/configuration.md, and values as a file holds them."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reducto.config.config_keys import ConfigKey, all_keys, sections
from reducto.config.fields import (
    SECONDS_PATTERN,
    SIZE_PATTERN,
    Bytes,
    KeySource,
    Seconds,
    format_seconds,
    format_size,
)
from reducto.config.schema import Config

_TYPE_NAMES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "path",
    KeySource: "key",
    Bytes: "size",
    Seconds: "duration",
}


def plain(key: ConfigKey, value: Any) -> Any:
    """A typed value as a configuration file would hold it: the size ``134217728`` becomes ``"128MiB"``."""
    if isinstance(value, tuple):
        return [plain(key, item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if key.kind is Bytes:
        return format_size(value)
    if key.kind is Seconds:
        return format_seconds(value)
    return str(value) if isinstance(value, Path | enum.StrEnum) else value


def value_of(config: Config, key: ConfigKey) -> Any:
    """The typed value of ``key`` in ``config``."""
    value: Any = config
    for name in key.path:
        value = getattr(value, name)
    return value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, in draft 7 because both Helm and editors understand that draft."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Reducto configuration",
    }
    nodes: dict[tuple[str, ...], dict[str, Any]] = {}
    for path, kind in sections():
        node = {
            "type": "object",
            "description": (kind.__doc__ or "").strip(),
            "additionalProperties": False,
            "properties": {},
        }
        nodes[path] = node
        if path:
            nodes[path[:-1]]["properties"][path[-1]] = node
    for key in all_keys().values():
        nodes[key.path[:-1]]["properties"][key.path[-1]] = _property(key)
    return root | nodes[()]


def markdown() -> str:
    """All keys as Markdown, with a heading and a table for each section."""
    return "\n".join(_markdown_lines()).rstrip() + "\n"


def _property(key: ConfigKey) -> dict[str, Any]:
    one = _one_value(key)
    out: dict[str, Any] = {"type": "array", "items": one} if key.is_list else dict(one)
    if key.optional:
        out["type"] = [out["type"], "null"]
    return out | {"description": key.doc, "default": plain(key, key.default)}


def _one_value(key: ConfigKey) -> dict[str, Any]:
    if key.kind is Bytes:
        return {"type": ["integer", "string"], "pattern": SIZE_PATTERN, "minimum": 0}
    if key.kind is Seconds:
        return {"type": ["number", "string"], "pattern": SECONDS_PATTERN, "minimum": 0}
    if issubclass(key.kind, enum.StrEnum) if isinstance(key.kind, type) else False:
        return {"type": "string", "enum": [str(choice) for choice in key.kind]}
    if key.kind in (str, Path, KeySource):
        return {"type": "string"}
    bounds = {"minimum": key.minimum, "maximum": key.maximum}
    return {"type": _TYPE_NAMES[key.kind]} | {name: bound for name, bound in bounds.items() if bound is not None}


def _markdown_lines() -> Iterator[str]:
    for path, kind in sections():
        keys = [key for key in all_keys().values() if key.path[:-1] == path]
        if not keys:
            continue
        yield f"### `{'.'.join(path)}`" if path else "### Top level"
        yield ""
        yield (kind.__doc__ or "").strip()
        yield ""
        yield "| key | type | default | meaning |"
        yield "| --- | --- | --- | --- |"
        for key in keys:
            yield f"| `{key.path[-1]}` | {_type_name(key)} | {_default_text(key)} | {key.doc} |"
        yield ""


def _type_name(key: ConfigKey) -> str:
    name = _TYPE_NAMES.get(key.kind) or " or ".join(f"`{choice}`" for choice in key.kind)
    return f"list of {name}s" if key.is_list else name


def _default_text(key: ConfigKey) -> str:
    if key.default is None or key.default in ((), ""):
        return "none"
    value = plain(key, key.default)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
