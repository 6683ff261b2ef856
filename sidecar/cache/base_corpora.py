"""The base corpora that the configuration names. They are fetched, verified and mapped at the start, and loaded again
when they change."""

from __future__ import annotations

from pathlib import Path

from reducto.config import Config
from reducto.corpus.reader import Corpus
from reducto.errors import ReductoError
from reducto.fetch.corpora import CorpusFinder
from reducto.oci.credentials import DockerCredentials
from reducto.trust.key_files import load_trust
from reducto.values import CorpusId
from sidecar.cache.local_corpora import Corpora
from sidecar.codec.interface import LocalCorpus
from sidecar.runtime import logs
from sidecar.runtime.offload import Offload


class BaseCorpora:
    """Loads the configured base corpora into `Corpora.bases`.

    ``problem`` says why they could not all be loaded; it is empty when they were.
    """

    def __init__(self, config: Config, corpora: Corpora, offload: Offload) -> None:
        self._config = config
        self._corpora = corpora
        self._offload = offload
        self._state: tuple[tuple[str, int, int], ...] = ()
        self.problem = ""

    async def load(self) -> None:
        """Maps the configured corpora if any of their files has changed.

        A failure is logged. The sidecar then works with the corpora that it has, and reports that it is not ready.
        """
        if not self._config.corpora:
            return
        try:
            found = await self._offload.io(self._open_all)
        except (ReductoError, OSError) as error:
            self.problem = f"{type(error).__name__}: {error}"
            logs.trouble("base-corpora-not-loaded", error)
            return
        self.problem = ""
        if found is not None:
            self._corpora.replace_bases(found)
            logs.event("base-corpora", count=len(found), ids=sorted(found))

    async def check(self) -> str:
        """The problem for the readiness check; empty when all configured corpora are mapped."""
        return self.problem

    def _open_all(self) -> dict[CorpusId, LocalCorpus] | None:
        """All configured base corpora by identity; None when their files have not changed since the last call."""
        upstream = self._config.upstream
        credentials = DockerCredentials.load(upstream.credentials_file) if upstream.credentials_file else None
        finder = CorpusFinder(self._config.corpus, ca_file=upstream.ca_file, credentials=credentials)
        files: list[Path] = [path for name in self._config.corpora for path in finder.find(name)]
        state = tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)
        if state == self._state:
            return None
        signing = self._config.security.signing
        trust = load_trust(signing.trusted_keys)
        opened = [
            Corpus.open(path, trust=trust if len(trust) else None, allow_unsigned=not signing.required)
            for path in files
        ]
        self._state = state
        return {corpus.id: corpus for corpus in opened}
