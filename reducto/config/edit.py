"""Changes one key of a TOML file and leaves everything else in the file, including comments, as it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from reducto.config.export import plain
from reducto.config.load import ENVIRONMENT_FILE, ConfigError, default_files, find_key, load


def file_to_edit(file: Path | None, variables: Mapping[str, str]) -> Path:
    """The file that ``config set`` changes.

    It is the given file, or else the file in REDUCTO_CONFIG, or else ``./reducto.toml`` if that exists, or else the
    user's file.
    """
    if file is not None or variables.get(ENVIRONMENT_FILE):
        return file or Path(variables[ENVIRONMENT_FILE])
    user, project = default_files(variables)
    return project if project.is_file() else user


def set_key(file: Path, name: str, text: str) -> Any:
    """Sets the key ``name`` to the value that ``text`` spells, and returns the value as the file holds it.

    Raises `ConfigError` and does not change the file when the result would not be a valid configuration.
    """
    key = find_key(name)
    if file.suffix != ".toml":
        raise ConfigError([f"{file}: this command changes only TOML files; edit YAML by hand"])
    try:
        value = plain(key, key.parse_text(text))
        document = tomlkit.parse(file.read_text(encoding="utf-8")) if file.exists() else tomlkit.document()
    except (ValueError, TOMLKitError) as error:
        raise ConfigError([f"{file}: {name} {error}"]) from error
    table: Any = document
    for part in key.path[:-1]:
        table = table.setdefault(part, tomlkit.table())
    if value is None:
        table.pop(key.path[-1], None)
    else:
        table[key.path[-1]] = value
    _replace_checked(file, tomlkit.dumps(document))
    return value


def _replace_checked(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.stem}.{os.getpid()}.toml")
    draft.write_text(text, encoding="utf-8")
    try:
        load(draft, environment={})
        draft.replace(file)
    except ConfigError as error:
        raise ConfigError([problem.replace(str(draft), str(file)) for problem in error.problems]) from None
    finally:
        draft.unlink(missing_ok=True)
