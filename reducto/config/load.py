"""Reads the configuration from files, then the environment, then explicit settings; a later source overrides."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reducto.config.config_keys import ConfigKey, all_keys, build
from reducto.config.rules import contradictions
from reducto.config.schema import Config
from reducto.errors import UsageError

ENVIRONMENT_FILE = "REDUCTO_CONFIG"


class ConfigError(UsageError):
    """The configuration cannot be used. ``problems`` holds one line for each thing that must be corrected."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and the origin of the value of each key that was set."""

    config: Config
    origins: Mapping[str, str]

    def origin(self, name: str) -> str:
        """The file or variable that set the key ``name``, or ``default``."""
        return self.origins.get(name, "default")


def load(
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """The configuration from ``file``, or from `default_files` without one.

    Environment variables override files, and ``overrides`` (command-line flags) override both. ``overrides`` maps
    dotted names to values as a file would hold them. Raises `ConfigError`, which lists every problem at once.
    """
    variables = os.environ if environment is None else environment
    layers = [(str(path), _flatten(path, read_document(path))) for path in files_to_read(file, variables)]
    problems: list[str] = []
    values: dict[tuple[str, ...], Any] = {}
    origins: dict[str, str] = {}
    for origin, key, parse in _assignments(layers, variables, overrides or {}, problems):
        try:
            values[key.path] = parse()
        except ValueError as error:
            problems.append(f"{origin}: {key.name} {error}")
        origins[key.name] = origin
    if not problems:
        config = build(Config, values)
        files = [origin for origin, _ in layers] or ["configuration"]
        problems = [f"{origins.get(name, files[-1])}: {name} {text}" for name, text in contradictions(config)]
    if problems:
        raise ConfigError(problems)
    return Loaded(config, origins)


def files_to_read(file: Path | None, variables: Mapping[str, str]) -> list[Path]:
    """The given file, or else the file in REDUCTO_CONFIG, or else those of `default_files` that exist."""
    if file is not None or variables.get(ENVIRONMENT_FILE):
        return [file or Path(variables[ENVIRONMENT_FILE])]
    return [path for path in default_files(variables) if path.is_file()]


def default_files(variables: Mapping[str, str]) -> tuple[Path, Path]:
    """The user's configuration file, and the file in the current directory, which overrides it."""
    home = variables.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "reducto" / "config.toml", Path("reducto.toml")


def read_document(path: Path) -> dict[str, Any]:
    """The mapping in a file, read as TOML if its name ends in ``.toml`` and as YAML otherwise. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text) if path.suffix == ".toml" else yaml.load(text, _StrictLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"{path}: {' '.join(str(error).split())}"]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError([f"{path}: must hold keys and values"])
    return document


def find_key(name: str) -> ConfigKey:
    """The key with this dotted name. Raises `ConfigError`, which suggests the most similar name."""
    try:
        return all_keys()[name]
    except KeyError:
        raise ConfigError([f"{name}: unknown key{nearest(name, all_keys())}"]) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """The text ``; did you mean ...?`` with the most similar known name, or an empty text without a similar one."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that refuses a mapping in which a key occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return mapping


def _assignments(
    layers: list[tuple[str, dict[str, Any]]],
    variables: Mapping[str, str],
    overrides: Mapping[str, Any],
    problems: list[str],
) -> Iterator[tuple[str, ConfigKey, Any]]:
    known = all_keys()
    for origin, flat in [*layers, ("command line", dict(overrides))]:
        if origin == "command line":
            for key in known.values():
                if key.variable in variables:
                    yield key.variable, key, lambda key=key: key.parse_text(variables[key.variable])
        for name, value in flat.items():
            if name in known:
                yield origin, known[name], lambda key=known[name], value=value: key.parse(value)
            else:
                problems.append(f"{origin}: {name}: unknown key{nearest(name, known)}")


def _flatten(path: Path, document: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    known = all_keys()
    flat: dict[str, Any] = {}
    for name, value in document.items():
        full = f"{prefix}{name}"
        is_section = any(key.startswith(f"{full}.") for key in known)
        if is_section and isinstance(value, Mapping):
            flat |= _flatten(path, value, f"{full}.")
        elif is_section and value is not None:
            raise ConfigError([f"{path}: {full} must be a section with keys of its own"])
        elif not is_section:
            flat[full] = value
    return flat
