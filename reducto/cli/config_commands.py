"""The commands on the configuration: ``reducto config get|set|check|schema``."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from reducto.cli.context import Context
from reducto.config import ConfigError, Loaded, load
from reducto.config.config_keys import ConfigKey, all_keys
from reducto.config.edit import file_to_edit, set_key
from reducto.config.export import json_schema, plain, value_of
from reducto.config.load import find_key


class ConfigGet:
    """Shows the effective value of one key or of all keys, and where each comes from."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", nargs="?", help="the key to show, such as upstream.url (default: all keys)")

    def run(self, arguments: Namespace, context: Context) -> int:
        keys = [find_key(arguments.key)] if arguments.key else list(all_keys().values())
        loaded = load(context.config_file)
        rows = {key.name: (_plain_value(loaded, key), loaded.origin(key.name)) for key in keys}
        document = {name: {"value": value, "origin": origin} for name, (value, origin) in rows.items()}
        if arguments.key:
            text = _shown(rows[arguments.key][0])
        else:
            text = "\n".join(f"{name} = {_shown(value)}  # {origin}" for name, (value, origin) in rows.items())
        context.console.result(document, text)
        return 0


class ConfigSet:
    """Changes one key of a TOML file."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="the key to change, such as compression.compression_level")
        parser.add_argument(
            "value", help="the new value; lists are comma-separated, and an empty value unsets an optional key"
        )

    def run(self, arguments: Namespace, context: Context) -> int:
        file = file_to_edit(context.config_file, os.environ)
        value = set_key(file, arguments.key, arguments.value)
        document = {"file": str(file), "key": arguments.key, "value": value}
        context.console.result(document, f"{file}: {arguments.key} = {_shown(value)}")
        return 0


class ConfigCheck:
    """Says whether the configuration can be used, and otherwise lists every problem at once."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--files", action="store_true", help="also check that the files which the configuration names can be read"
        )

    def run(self, arguments: Namespace, context: Context) -> int:
        loaded = load(context.config_file)
        if arguments.files and (problems := _unreadable(loaded)):
            raise ConfigError(problems)
        origins = sorted(set(loaded.origins.values()))
        text = f"configuration is valid: {len(loaded.origins)} keys set by {', '.join(origins) or 'nobody'}"
        context.console.result({"valid": True, "keys": dict(loaded.origins)}, text)
        return 0


class ConfigSchema:
    """Prints the JSON Schema of a configuration file."""

    def configure(self, parser: ArgumentParser) -> None:
        pass

    def run(self, arguments: Namespace, context: Context) -> int:
        context.console.result(json_schema(), json.dumps(json_schema(), indent=2))
        return 0


def _plain_value(loaded: Loaded, key: ConfigKey) -> Any:
    return plain(key, value_of(loaded.config, key))


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _unreadable(loaded: Loaded) -> list[str]:
    """One line for each file that the configuration names and that this user cannot read."""
    problems = []
    for key in all_keys().values():
        value = value_of(loaded.config, key)
        for one in value if isinstance(value, tuple) else (value,):
            named = key.reads_file and one and not str(one).startswith("env:")
            if named and not os.access(Path(str(one).removeprefix("file:")), os.R_OK):
                problems.append(f"{loaded.origin(key.name)}: {key.name}: {one} cannot be read")
    return problems
