"""Layer corpora on the local disk, in a folder of limited size that may be emptied at any moment.

A layer corpus lies here in one of two forms, or in both. The *packed* form (``<id>.rcp``) came from the registry. Its
bytes are decoded when a rebuild first reads them, so that a pull can begin at once. The *mapped* form (``<id>.rc``) has
the plain bytes and the tables that an encoder needs. It is made when an encoder first selects the corpus.

When the folder is full, the corpus that was used longest ago is dropped. This only unlinks the corpus's files, so
readers that have it open can go on. All methods use the disk, so they are called on workers.
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

#: Open corpora by identity. They can be parents of corpora that are opened next.
OpenCorpora = Mapping[CorpusId, LocalCorpus]


class CorpusFolder:
    """The folder of layer corpora, and the corpora that are open in it. One per process."""

    def __init__(self, folder: Path, max_bytes: int, codec: Codec, metrics: Metrics) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._codec = codec
        self._metrics = metrics
        self._lock = threading.Lock()
        self._mapped: dict[CorpusId, LocalCorpus] = {}
        self._lazy: dict[CorpusId, LocalCorpus] = {}
        self._lengths: OrderedDict[CorpusId, int] = OrderedDict()
        """The bytes on disk of each corpus in both forms, the least recently used corpus first."""

    # -- files

    def packed_path(self, corpus_id: CorpusId) -> Path:
        """The path of the packed form, whether or not it is there."""
        return self._folder / f"{corpus_id}.rcp"

    def temporary_path(self, corpus_id: CorpusId) -> Path:
        """A new name for a temporary file in the folder. `restore` removes those that an earlier process left."""
        return self._folder / f".{corpus_id}.{secrets.token_hex(4)}"

    def is_packed(self, corpus_id: CorpusId) -> bool:
        """Whether the folder has the packed form of the corpus."""
        return self.packed_path(corpus_id).exists()

    def has(self, corpus_id: CorpusId) -> bool:
        """Whether the folder has the corpus in any form."""
        if corpus_id in self._mapped or corpus_id in self._lazy:
            return True
        return self._mapped_path(corpus_id).exists() or self.is_packed(corpus_id)

    def take(self, corpus_id: CorpusId, packed: Path) -> None:
        """Moves a file in packed form into the folder. Raises `OSError` when the disk is full."""
        move(packed, self.packed_path(corpus_id))
        self.note_use(corpus_id)

    # -- opening

    def open(self, corpus_id: CorpusId, known: OpenCorpora, *, mapped: bool) -> LocalCorpus | None:
        """The corpus, opened from the folder; None if it is not there.

        With ``mapped`` only the mapped form counts. ``known`` has the corpus's parents, which the packed form needs.
        """
        self.note_use(corpus_id)
        corpus = self._open_mapped(corpus_id)
        if corpus is not None or mapped:
            return corpus
        return self._open_lazy(corpus_id, known)

    def add_lazy(self, corpus_id: CorpusId, corpus: LocalCorpus) -> LocalCorpus:
        """Notes an open corpus whose packed form is still being downloaded. If the corpus was noted before, returns
        the one from then."""
        with self._lock:
            return self._lazy.setdefault(corpus_id, corpus)

    def discard_lazy(self, corpus_id: CorpusId) -> None:
        """Forgets a corpus from `add_lazy`, because its download failed."""
        with self._lock:
            self._lazy.pop(corpus_id, None)

    def map(self, corpus_id: CorpusId, known: OpenCorpora) -> None:
        """Makes the mapped form of a packed corpus. Raises `Corrupt`.

        Call it on a disk worker or an idle one. On a kernel worker it could wait for ever, because encoders on all
        kernel workers may be waiting for this corpus.
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
        self.discard_lazy(corpus_id)  # The next reader opens the mapped form instead.

    # -- the whole folder

    def note_use(self, corpus_id: CorpusId) -> None:
        """Notes that the corpus was used. Drops others if the folder has become larger than its limit."""
        length = 0
        for path in (self._mapped_path(corpus_id), self.packed_path(corpus_id)):
            with contextlib.suppress(FileNotFoundError):
                length += path.stat().st_size
        if not length:
            return
        with self._lock:
            self._lengths[corpus_id] = length
            self._lengths.move_to_end(corpus_id)
            total, dropped = sum(self._lengths.values()), []
            for other, length_of_other in self._lengths.items():
                if total <= self._max_bytes or other == corpus_id:
                    break
                dropped.append(other)
                total -= length_of_other
        self.drop(dropped)
        self._metrics.corpora_bytes.set(total)
        self._metrics.corpora_loaded.labels(kind="layer").set(len(self._lengths))

    def drop(self, corpus_ids: Iterable[CorpusId]) -> None:
        """Removes corpora, because they may be damaged or their space is needed. The next use fetches them again."""
        for corpus_id in corpus_ids:
            with self._lock:
                self._mapped.pop(corpus_id, None)
                self._lazy.pop(corpus_id, None)  # The last reader's end removes the corpus's temporary file.
                self._lengths.pop(corpus_id, None)
            for path in (self._mapped_path(corpus_id), self.packed_path(corpus_id)):
                path.unlink(missing_ok=True)

    def names(self) -> list[CorpusId]:
        """The identities of all corpora in the folder, the least recently used first."""
        with self._lock:
            return list(self._lengths)

    def restore(self) -> None:
        """Notes the corpora that an earlier process left in the folder, and removes its temporary files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime):
            if path.suffix in (".rc", ".rcp") and len(path.stem) == 64:
                self.note_use(CorpusId(path.stem))
            else:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Releases the open packed corpora with their temporary files."""
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

    def _open_lazy(self, corpus_id: CorpusId, known: OpenCorpora) -> LocalCorpus | None:
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
        """The corpus that ``opening`` gives, noted in ``where``. None if its file is damaged; the file is removed."""
        try:
            corpus = opening()
        except ReductoError as error:
            logs.trouble("corpus-file-damaged", error, corpus=corpus_id, file=path.name)
            path.unlink(missing_ok=True)
            return None
        with self._lock:
            corpus = where.setdefault(corpus_id, corpus)
        self.note_use(corpus_id)
        return corpus
