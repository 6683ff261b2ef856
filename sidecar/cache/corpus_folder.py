"""Layer corpora on the local disk: a bounded folder that may be emptied at any moment.

A layer corpus lies here in one of two forms. *Packed*, as it came from the registry (``<id>.rcp``): its bytes are
decoded when a rebuild wants them, so that a pull begins at once. *Mapped* (``<id>.rc``), with its tables: what an
encoder needs, made when the corpus is first selected.

The corpus that was used longest ago goes first. Dropping a corpus only unlinks its files; whoever reads it keeps the
mapping. All methods but the properties look at the disk, so they are called from workers.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from reducto.errors import Corrupt, ReductoError
from reducto.files import move
from reducto.values import CorpusId
from sidecar.codec.interface import Codec, LocalCorpus
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics

#: Corpora at hand by identity, as parents of those that are opened.
Known = Mapping[CorpusId, LocalCorpus]


class CorpusFolder:
    """The folder and the corpora that are open in it. One per process."""

    def __init__(self, folder: Path, max_bytes: int, codec: Codec, metrics: Metrics) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._codec = codec
        self._metrics = metrics
        self._guard = threading.Lock()
        self._mapped: dict[CorpusId, LocalCorpus] = {}
        self._lazy: dict[CorpusId, LocalCorpus] = {}
        self._lengths: OrderedDict[CorpusId, int] = OrderedDict()
        """Bytes on disk of every corpus, least recently used first."""

    # -- files

    def packed_path(self, corpus_id: CorpusId) -> Path:
        """Where the packed form lies, or would lie."""
        return self._folder / f"{corpus_id}.rcp"

    def temporary_path(self, corpus_id: CorpusId) -> Path:
        """A new name in the folder. `restore` removes such files of an earlier process."""
        return self._folder / f".{corpus_id}.{secrets.token_hex(4)}"

    def is_packed(self, corpus_id: CorpusId) -> bool:
        """Whether the packed form is here."""
        return self.packed_path(corpus_id).exists()

    def has(self, corpus_id: CorpusId) -> bool:
        """Whether the corpus is here in any form."""
        if corpus_id in self._mapped or corpus_id in self._lazy:
            return True
        return self._mapped_path(corpus_id).exists() or self.is_packed(corpus_id)

    def take(self, corpus_id: CorpusId, packed: Path) -> None:
        """Moves a packed form into the folder. Raises `OSError` when there is no room for it."""
        move(packed, self.packed_path(corpus_id))
        self.note_use(corpus_id)

    # -- opening

    def open(self, corpus_id: CorpusId, known: Known, *, mapped: bool) -> LocalCorpus | None:
        """The corpus, read from the folder; None when it is not here. ``mapped``: only with its tables."""
        self.note_use(corpus_id)
        corpus = self._open_mapped(corpus_id)
        if corpus is not None or mapped:
            return corpus
        return self._open_lazy(corpus_id, known)

    def add_lazy(self, corpus_id: CorpusId, corpus: LocalCorpus) -> LocalCorpus:
        """Notes a corpus whose packed form is still on its way; returns the one that was noted first."""
        with self._guard:
            return self._lazy.setdefault(corpus_id, corpus)

    def discard_lazy(self, corpus_id: CorpusId) -> None:
        """Forgets a corpus from `add_lazy` whose packed form did not come."""
        with self._guard:
            self._lazy.pop(corpus_id, None)

    def map(self, corpus_id: CorpusId, known: Known) -> None:
        """Makes the mapped form of a packed corpus. Raises `Corrupt`.

        For disk workers, because encoders on all kernel workers may be waiting for it.
        """
        if self._mapped_path(corpus_id).exists():
            return
        source = self._open_lazy(corpus_id, known)
        if source is None:
            raise Corrupt(f"the packed corpus {corpus_id} is damaged")
        temporary = self.temporary_path(corpus_id)
        try:
            self._codec.write_mapped(source, temporary)
            os.replace(temporary, self._mapped_path(corpus_id))
        finally:
            temporary.unlink(missing_ok=True)
        self.discard_lazy(corpus_id)  # The next reader finds the mapped form.

    # -- the whole folder

    def note_use(self, corpus_id: CorpusId) -> None:
        """Notes that the corpus was used, and drops others when the folder has grown too large."""
        length = 0
        for path in (self._mapped_path(corpus_id), self.packed_path(corpus_id)):
            with contextlib.suppress(FileNotFoundError):
                length += path.stat().st_size
        if not length:
            return
        with self._guard:
            self._lengths[corpus_id] = length
            self._lengths.move_to_end(corpus_id)
            total, victims = sum(self._lengths.values()), []
            for victim, victim_length in self._lengths.items():
                if total <= self._max_bytes or victim == corpus_id:
                    break
                victims.append(victim)
                total -= victim_length
        self.drop(victims)
        self._metrics.corpora_bytes.set(total)
        self._metrics.corpora_loaded.labels(kind="layer").set(len(self._lengths))

    def drop(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Removes corpora, because they may be damaged or their room is needed; the next use fetches them again."""
        for corpus_id in corpus_ids:
            with self._guard:
                self._mapped.pop(corpus_id, None)
                self._lazy.pop(corpus_id, None)  # Its temporary file goes with its last reader.
                self._lengths.pop(corpus_id, None)
            for path in (self._mapped_path(corpus_id), self.packed_path(corpus_id)):
                path.unlink(missing_ok=True)

    def names(self) -> list[CorpusId]:
        """All corpora in the folder, least recently used first."""
        with self._guard:
            return list(self._lengths)

    def restore(self) -> None:
        """Notes what an earlier process left in the folder, and clears what it left unfinished."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime):
            if path.suffix in (".rc", ".rcp") and len(path.stem) == 64:
                self.note_use(CorpusId(path.stem))
            else:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives up temporary files."""
        for corpus in self._lazy.values():
            self._codec.release(corpus)
        self._lazy.clear()

    # -- inside

    def _mapped_path(self, corpus_id: CorpusId) -> Path:
        return self._folder / f"{corpus_id}.rc"

    def _open_mapped(self, corpus_id: CorpusId) -> LocalCorpus | None:
        found = self._mapped.get(corpus_id)
        path = self._mapped_path(corpus_id)
        if found is not None or not path.exists():
            return found
        return self._opened(self._mapped, corpus_id, path, lambda: self._codec.open(path, corpus_id))

    def _open_lazy(self, corpus_id: CorpusId, known: Known) -> LocalCorpus | None:
        found = self._lazy.get(corpus_id)
        path = self.packed_path(corpus_id)
        if found is not None or not path.exists():
            return found
        return self._opened(self._lazy, corpus_id, path, lambda: self._codec.lazy(path, corpus_id, known))

    def _opened(
        self,
        where: dict[CorpusId, LocalCorpus],
        corpus_id: CorpusId,
        path: Path,
        opening: Callable[[], LocalCorpus],
    ) -> LocalCorpus | None:
        """The corpus that ``opening`` gives, noted in ``where``; None when its file is damaged, which is then gone."""
        try:
            corpus = opening()
        except ReductoError as error:
            logs.trouble("corpus-file-damaged", error, corpus=corpus_id, file=path.name)
            path.unlink(missing_ok=True)
            return None
        with self._guard:
            corpus = where.setdefault(corpus_id, corpus)
        self.note_use(corpus_id)
        return corpus
