"""What every command is given: the console, the configuration, and the trusted keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from reducto.cli.console import Console

if TYPE_CHECKING:
    from reducto.config import Config
    from reducto.trust.signatures import Signer, TrustStore


@dataclass
class Context:
    """The surroundings of one run of a command. The configuration is read when `config` is first used."""

    console: Console
    config_file: Path | None = None
    overrides: dict[str, object] = field(default_factory=dict)
    """Values by dotted key name, from command-line options, that override the configuration's."""

    @cached_property
    def config(self) -> Config:
        """The effective configuration. Raises `ConfigError`."""
        from reducto.config import load

        return load(self.config_file, self.overrides).config

    def trust(self, *more: str | Path) -> TrustStore | None:
        """The public keys that the configuration and ``more`` (files or directories) name; None without any key."""
        from reducto.trust.key_files import load_trust

        store = load_trust([*self.config.security.signing.trusted_keys, *more])
        return store if len(store) else None

    def signer(self, source: str | None) -> Signer | None:
        """The signer for the private key in ``source`` (a file or ``env:NAME``), or else in the configured key.

        None if neither names a key.
        """
        from reducto.trust.key_files import load_signer

        chosen = source or self.config.security.signing.key
        return load_signer(str(chosen)) if chosen else None

    @contextmanager
    def workers(self) -> Iterator[ThreadPoolExecutor]:
        """A pool of ``compression.workers`` threads for kernel work; one for each processor core by default."""
        with ThreadPoolExecutor(self.config.compression.workers or os.cpu_count() or 1, "reducto") as pool:
            yield pool
