"""From what a user calls a corpus to files: paths, names, ``oci://`` and ``https://`` addresses, and the cache.

The cache directory holds ``<corpus id>.rc``, and for each address that was fetched a small JSON file with the
identities that it stood for. What is in it is as trusted as any file: whoever opens a corpus verifies it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from reducto.config.schema import CorpusOptions
from reducto.corpus.reader import Corpus
from reducto.errors import ReductoError, UsageError
from reducto.fetch.artifact import PARTS_LIMIT, CorpusArtifact, fetch_part
from reducto.fetch.blocking import Advance, BlockingRepository
from reducto.fetch.local import SCHEMES, local_files
from reducto.fetch.web import NotModified, WebFile
from reducto.files import AtomicFile, write_atomically
from reducto.oci.address import RegistryAddress
from reducto.oci.credentials import DockerCredentials
from reducto.oci.registry_errors import NotInRegistry, RegistryError
from reducto.values import CorpusId, parse_corpus_id

Note = Callable[[str], None]


class CorpusFinder:
    """Finds and fetches corpora. Thread-safe; several processes may share a cache directory.

    ``plain_http`` and ``credentials`` are `BlockingRepository`'s.
    """

    def __init__(
        self,
        options: CorpusOptions,
        *,
        ca_file: Path | None = None,
        plain_http: bool | None = None,
        credentials: DockerCredentials | None = None,
        note: Note = lambda _: None,
        advance: Advance = lambda _: None,
    ) -> None:
        self._options = options
        self._cache = options.cache_dir.expanduser()
        self._ca_file = ca_file
        self._plain_http = plain_http
        self._credentials = credentials
        self._note = note
        self._advance = advance
        self._in_use: set[Path] = set()

    def find(self, name: str) -> list[Path]:
        """The corpus files that ``name`` stands for, fetched if they are not at hand.

        A file; a directory, for every ``.rc`` in it; an address; or a name, looked up in the configured repositories.
        Raises `UsageError` if nothing is found, `RegistryError`, `Corrupt`.
        """
        if name.startswith(SCHEMES):
            return self._use(self._address(name))
        if files := local_files(name):
            return files
        if os.sep in name or name.endswith(".rc"):
            raise UsageError(f"there is no corpus {Path(name).expanduser()}")
        return self._use(self._named(name))

    def _named(self, name: str) -> list[Path]:
        cached = self._cache / f"{name}.rc"
        if cached.is_file():
            return [cached]
        unreachable: RegistryError | None = None
        for repository in self._options.repositories:
            if repository.startswith("oci://"):
                address = f"{repository.rstrip('/')}:{name}"
            elif repository.startswith(SCHEMES):
                address = f"{repository.rstrip('/')}/{name}.rc"
            else:
                local = Path(repository).expanduser() / f"{name}.rc"
                if local.is_file():
                    return [local]
                continue
            try:
                return self._address(address)
            except NotInRegistry:
                continue
            except RegistryError as error:
                unreachable = error
        if unreachable is not None:
            raise unreachable
        where = ", ".join(self._options.repositories) or "none are configured (corpus.repositories)"
        raise UsageError(f"no corpus {name!r}: not a file, not in the cache, not in the repositories: {where}")

    def _address(self, address: str) -> list[Path]:
        """The files of an address; those of its last fetch when it cannot be reached now."""
        self._cache.mkdir(parents=True, exist_ok=True)
        try:
            return self._from_registry(address) if address.startswith("oci://") else self._from_web(address)
        except NotInRegistry:
            raise
        except RegistryError as error:
            remembered = self._remembered(address)
            files = self._cached(map(parse_corpus_id, remembered.get("ids", [])))
            if not files:
                raise
            self._note(f"{address} cannot be reached ({error}); using what was fetched before")
            return files

    # -- registries --------------------------------------------------------------------------------------------

    def repository(self, address: str) -> BlockingRepository:
        """The repository that an ``oci://`` address names. The caller closes it."""
        return BlockingRepository(
            RegistryAddress.parse(address),
            plain_http=self._plain_http,
            ca_file=self._ca_file,
            credentials=self._credentials,
        )

    def _from_registry(self, address: str) -> list[Path]:
        files = []
        with self.repository(address) as repository:
            artifact = CorpusArtifact.parse(repository.manifest().data)
            for part in artifact.parts:
                target = self._cache / f"{part.corpus_id}.rc"
                if not self._usable(target, part.corpus_id, signed=part.signature is not None):
                    fetch_part(
                        repository,
                        part,
                        target,
                        spool_dir=self._cache,
                        plain_limit_bytes=self._options.max_cache_size,
                        advance=self._advance,
                    )
                files.append(target)
        self._remember(address, _address_key(address), {"ids": [part.corpus_id for part in artifact.parts]})
        return files

    @staticmethod
    def _usable(path: Path, corpus_id: CorpusId, *, signed: bool) -> bool:
        """True if the cache's file is undamaged, and signed if the one in the registry is."""
        try:
            with Corpus.open(path, expect=corpus_id) as corpus:
                return corpus.signature is not None or not signed
        except ReductoError:
            return False

    # -- web servers -------------------------------------------------------------------------------------------

    def _from_web(self, address: str) -> list[Path]:
        remembered = self._remembered(address)
        files = self._cached(map(parse_corpus_id, remembered.get("ids", [])))
        etag = remembered.get("etag") if files else None
        web_file = WebFile(address, self._ca_file, self._options.max_cache_size)
        arriving = self._cache / f"arriving-{_address_key(address)}-{os.getpid()}.part"
        try:
            with AtomicFile(arriving) as file:
                etag = web_file.fetch(file.file, etag if isinstance(etag, str) else None, self._advance)
                file.publish()
            # Whether it is trusted is for its user to say; what it is can be told without.
            with Corpus.open(arriving, allow_unsigned=True) as corpus:
                identity = corpus.id
            arriving.rename(self._cache / f"{identity}.rc")
        except NotModified:
            return files
        finally:
            arriving.unlink(missing_ok=True)
        self._remember(web_file.name, _address_key(address), {"ids": [identity], "etag": etag})
        return [self._cache / f"{identity}.rc"]

    # -- the cache ---------------------------------------------------------------------------------------------

    def _cached(self, ids: Iterable[CorpusId]) -> list[Path]:
        """The cache's files of these corpora, or nothing if one is missing."""
        files = [self._cache / f"{identity}.rc" for identity in ids]
        return files if all(path.is_file() for path in files) else []

    def _remembered(self, address: str) -> dict[str, Any]:
        try:
            document = json.loads((self._cache / f"{_address_key(address)}.json").read_text())
        except (OSError, ValueError):
            return {}
        ids = document.get("ids") if isinstance(document, dict) else None
        return document if isinstance(ids, list) and len(ids) <= PARTS_LIMIT else {}

    def _remember(self, shown: str, key: str, facts: dict[str, Any]) -> None:
        """Notes what an address stood for; ``shown`` is the address as people may see it."""
        write_atomically(self._cache / f"{key}.json", json.dumps({"address": shown, **facts}).encode(), 0o644)

    def _use(self, files: list[Path]) -> list[Path]:
        """Marks files as used now, and makes room."""
        for path in files:
            if path.parent == self._cache:
                os.utime(path)
                self._in_use.add(path)
        self.evict()
        return files

    def evict(self) -> None:
        """Removes corpora from the cache, longest unused first, until it is within its limit.

        What this finder has handed out stays; a file that another process has mapped stays readable to it.
        """
        known = [(path, path.stat()) for path in self._cache.glob("*.rc")] if self._cache.is_dir() else []
        excess = sum(status.st_size for _, status in known) - self._options.max_cache_size
        for path, status in sorted(known, key=lambda item: item[1].st_mtime):
            if excess <= 0:
                return
            if path not in self._in_use:
                path.unlink(missing_ok=True)
                excess -= status.st_size
                self._note(f"removed {path.name} from the cache, unused for {_age(status.st_mtime)}")


def _address_key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:32]


def _age(then: float) -> str:
    hours = (time.time() - then) / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours"
