"""The table of commands, which alone knows which class carries out which command.

A target is ``module:Class``, and the class is a `Command`. The module is imported when its command is run, because
``reducto --help`` must stay quick and because some commands live in packages that import this one.
"""

from __future__ import annotations

import importlib
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from reducto.cli.context import Context


class Command(Protocol):
    """One command. It is made without arguments and run once."""

    def configure(self, parser: ArgumentParser) -> None:
        """Adds the command's own options to ``parser``, which has ``--json``, ``--quiet`` and ``--config`` already."""

    def run(self, arguments: Namespace, context: Context) -> int:
        """Carries the command out and returns its exit code. Raises `ReductoError` for an expected failure."""


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A row of the table: the command's words, its class, and one line of help."""

    words: tuple[str, ...]
    target: str
    help: str

    @property
    def name(self) -> str:
        """The command as a user types it."""
        return " ".join(self.words)

    def load(self) -> Command:
        """A new instance of the command's class."""
        module, _, attribute = self.target.partition(":")
        return cast(Command, getattr(importlib.import_module(module), attribute)())


def _entry(name: str, target: str, help_text: str) -> CommandEntry:
    return CommandEntry(tuple(name.split()), target, help_text)


#: The purpose of the commands that share a first word.
GROUPS = {
    "config": "read, change and check the configuration",
    "audit": "check the audit log",
    "corpus": "make, check, fetch and publish reference corpora",
    "keys": "make, show and rotate keys",
}

COMMANDS: tuple[CommandEntry, ...] = (
    _entry("serve", "sidecar.cli.serve_command:Serve", "serve the registry API in front of a registry or a directory"),
    _entry("demo", "sidecar.cli.serve_command:Demo", "push and pull two versions of an image and show what is saved"),
    _entry(
        "fsck",
        "sidecar.cli.maintenance_commands:Fsck",
        "rebuild every reduced layer of a registry and compare its digest",
    ),
    _entry("gc", "sidecar.cli.maintenance_commands:Gc", "delete the records of layers that no image names"),
    _entry("rehydrate", "sidecar.cli.maintenance_commands:Rehydrate", "turn repositories back into plain images"),
    _entry(
        "adopt",
        "sidecar.cli.maintenance_commands:Adopt",
        "reduce images that were pushed before the sidecar was installed",
    ),
    _entry("compress", "reducto.cli.file_commands:Compress", "reduce a file against corpora"),
    _entry("decompress", "reducto.cli.file_commands:Decompress", "rebuild a reduced file, or a range of it"),
    _entry("inspect", "reducto.cli.file_commands:Inspect", "show what a .reducto file is made of"),
    _entry("analyze", "reducto.cli.analyze_command:Analyze", "report what reducing an input would save"),
    _entry(
        "benchmark", "reducto.cli.benchmark_command:Benchmark", "answer whether Reducto pays for the data of a folder"
    ),
    _entry("config get", "reducto.cli.config_commands:ConfigGet", "show settings and where their values come from"),
    _entry("config set", "reducto.cli.config_commands:ConfigSet", "change a setting in a TOML file"),
    _entry("config check", "reducto.cli.config_commands:ConfigCheck", "say whether the configuration can be used"),
    _entry(
        "config schema", "reducto.cli.config_commands:ConfigSchema", "print the JSON Schema of a configuration file"
    ),
    _entry("corpus build", "corpus_builder.cli:CorpusBuild", "make a corpus out of directories, archives and images"),
    _entry("corpus analyze", "corpus_builder.cli:CorpusAnalyze", "measure how much of some data corpora hold"),
    _entry(
        "corpus verify", "reducto.cli.corpus_commands:CorpusVerify", "check every byte and the signature of corpora"
    ),
    _entry("corpus inspect", "reducto.cli.corpus_commands:CorpusInspect", "show what a corpus holds"),
    _entry("corpus push", "reducto.cli.corpus_commands:CorpusPush", "store corpora in a registry"),
    _entry("corpus fetch", "reducto.cli.corpus_commands:CorpusFetch", "download a corpus to this machine and check it"),
    _entry(
        "audit verify",
        "reducto.cli.audit_commands:AuditVerify",
        "check the hash chain and the checkpoints of an audit log",
    ),
    _entry("keys generate", "reducto.cli.key_commands:KeysGenerate", "make a signing key or an encryption key"),
    _entry("keys show", "reducto.cli.key_commands:KeysShow", "show the ids of keys and what each is trusted for"),
    _entry("keys rotate", "reducto.cli.key_commands:KeysRotate", "replace a signing key by a new one"),
    _entry(
        "keys rewrap",
        "sidecar.cli.maintenance_commands:Rewrap",
        "write records again with the present keys and signature",
    ),
    _entry(
        "keys revoke",
        "reducto.cli.key_commands:KeysRevoke",
        "revoke a signing key, so that nothing it signed is accepted",
    ),
    _entry("keys api create", "reducto.cli.key_commands:KeysApiCreate", "make an API key for the control port"),
    _entry("keys api list", "reducto.cli.key_commands:KeysApiList", "list API keys"),
    _entry("keys api revoke", "reducto.cli.key_commands:KeysApiRevoke", "revoke an API key"),
)
