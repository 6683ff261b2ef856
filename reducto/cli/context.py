"""What every command is given: where to write, the configuration, and whom to trust."""

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
    from reducto.keys import Signer, TrustStore


@dataclass
class Context:
    """One run of the program. The configuration is read when it is first asked for."""

    console: Console
    config_file: Path | None = None
    overrides: dict[str, object] = field(default_factory=dict)
    """Values by dotted name that flags set over the configuration's."""

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises `ConfigError`."""
        from reducto.config import load

        return load(self.config_file, self.overrides).config

    def trust(self, *more: str | Path) -> TrustStore | None:
        """The keys that the configuration and ``more`` (files, directories) trust; None if there are none."""
        from reducto.keyfiles import load_trust

        store = load_trust([*self.config.security.signing.trusted_keys, *more])
        return store if len(store) else None

    def signer(self, source: str | None) -> Signer | None:
        """The signer of ``source`` (a file or ``env:NAME``), else of the configuration; None if there is none."""
        from reducto.keyfiles import load_signer

        chosen = source or self.config.security.signing.key
        return load_signer(str(chosen)) if chosen else None

    @contextmanager
    def workers(self) -> Iterator[ThreadPoolExecutor]:
        """Threads for kernel work, as many as the configuration says."""
        with ThreadPoolExecutor(self.config.compression.workers or os.cpu_count() or 1, "reducto") as pool:
            yield pool
