"""Layer corpora on the local disk: a bounded folder that may be emptied at any moment.

A layer corpus lies here in one of two forms. *Packed*, as it came from the registry (``<name>.rcp``): its bytes are
decoded when a rebuild wants them, so that a pull begins at once. *Mapped* (``<name>.rc``), with its tables: what an
encoder needs, made when the corpus is first selected.

The name is the corpus's identity and the digest of the blob that holds it. The identity alone would not do: it does not
cover the packed form's table, and anybody can compute it for content that he knows. So what one caller's record brought
is never read for another caller whose record names a different blob.

The corpus that was used longest ago goes first. Dropping a corpus only unlinks its files; whoever reads it keeps the
mapping. All methods but the properties look at the disk, so they are called from workers.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from reducto.errors import CorpusMissing, Corrupt, ReductoError
from reducto.files import move
from reducto.values import CorpusId
from sidecar.codec.interface import Codec, LocalCorpus
from sidecar.records.format import CorpusBlob
from sidecar.runtime import logs
from sidecar.runtime.metrics import Metrics

#: Corpora at hand by identity, as parents of those that are opened.
OpenCorpora = Mapping[CorpusId, LocalCorpus]
#: Names a corpus in a blob: ``<identity>-<first 32 hex digits of the blob's digest>``.
Name = str

_NAME = re.compile(r"[0-9a-f]{64}-[0-9a-f]{32}")


def name_of(blob: CorpusBlob) -> Name:
    """The name of a corpus that was packed into this very blob."""
    return f"{blob.corpus_id}-{blob.blob.digest.hex[:32]}"


class CorpusFolder:
    """The folder and the corpora that are open in it. One per process."""

    def __init__(self, folder: Path, max_bytes: int, codec: Codec, metrics: Metrics) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._codec = codec
        self._metrics = metrics
        self._lock = threading.Lock()
        self._mapped: dict[Name, LocalCorpus] = {}
        self._lazy: dict[tuple[Name, tuple[int, ...]], LocalCorpus] = {}
        """Corpora that are read from their packed form, by their name and the parents that they are read against."""
        self._lengths: OrderedDict[Name, int] = OrderedDict()
        """Bytes on disk of every corpus, least recently used first."""

    # -- files

    def packed_path(self, blob: CorpusBlob) -> Path:
        """Where the packed form lies, or would lie."""
        return self._folder / f"{name_of(blob)}.rcp"

    def temporary_path(self, blob: CorpusBlob) -> Path:
        """A new name in the folder. `restore` removes such files of an earlier process."""
        return self._folder / f".{name_of(blob)}.{secrets.token_hex(4)}"

    def is_packed(self, blob: CorpusBlob) -> bool:
        """Whether the packed form is here."""
        return self.packed_path(blob).exists()

    def has(self, blob: CorpusBlob) -> bool:
        """Whether the corpus is here in any form."""
        return name_of(blob) in self._mapped or self._mapped_path(blob).exists() or self.is_packed(blob)

    def take(self, blob: CorpusBlob, packed: Path) -> None:
        """Moves a packed form into the folder. Raises `OSError` when there is no room for it."""
        move(packed, self.packed_path(blob))
        self.note_use(name_of(blob))

    def alias(self, known: CorpusBlob, blob: CorpusBlob) -> None:
        """Gives the mapped form of a known corpus to a new blob that was proved to hold the same corpus."""
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.link(self._mapped_path(known), self._mapped_path(blob))
        self.note_use(name_of(blob))

    # -- opening

    def open(self, blob: CorpusBlob, known: OpenCorpora, *, mapped: bool) -> LocalCorpus | None:
        """The corpus, read from the folder; None when it is not here. ``mapped``: only with its tables."""
        self.note_use(name_of(blob))
        corpus = self._open_mapped(blob)
        if corpus is not None or mapped:
            return corpus
        return self._open_lazy(blob, known)

    def parents_of(self, blob: CorpusBlob, known: OpenCorpora) -> OpenCorpora:
        """Those of the known corpora that the record declares as the corpus's parents."""
        return {parent: known[parent] for parent in blob.parents if parent in known}

    def add_lazy(self, blob: CorpusBlob, known: OpenCorpora, corpus: LocalCorpus) -> LocalCorpus:
        """Notes a corpus whose packed form is still on its way; returns the one that was noted first."""
        with self._lock:
            return self._lazy.setdefault(self._lazy_key(blob, known), corpus)

    def discard_lazy(self, blob: CorpusBlob) -> None:
        """Forgets corpora from `add_lazy` whose packed form did not come, or that are mapped now."""
        name = name_of(blob)
        with self._lock:
            for key in [key for key in self._lazy if key[0] == name]:
                del self._lazy[key]  # Its temporary file goes with its last reader.

    def map(self, blob: CorpusBlob, known: OpenCorpora) -> None:
        """Makes the mapped form of a packed corpus. Raises `Corrupt`.

        For disk workers, because encoders on all kernel workers may be waiting for it.
        """
        if self._mapped_path(blob).exists():
            return
        source = self._open_lazy(blob, known)
        if source is None:
            raise Corrupt(f"the packed corpus {blob.corpus_id} is damaged")
        temporary = self.temporary_path(blob)
        try:
            self._codec.write_mapped(source, temporary)
            os.replace(temporary, self._mapped_path(blob))
        finally:
            temporary.unlink(missing_ok=True)
        self.discard_lazy(blob)  # The next reader finds the mapped form.

    # -- the whole folder

    def note_use(self, name: Name) -> None:
        """Notes that the corpus was used, and drops others when the folder has grown too large."""
        length = 0
        for path in self._paths(name):
            with contextlib.suppress(FileNotFoundError):
                length += path.stat().st_size
        if not length:
            return
        with self._lock:
            self._lengths[name] = length
            self._lengths.move_to_end(name)
            total, victims = sum(self._lengths.values()), []
            for victim, victim_length in self._lengths.items():
                if total <= self._max_bytes or victim == name:
                    break
                victims.append(victim)
                total -= victim_length
        self._drop(victims)
        self._metrics.corpora_bytes.set(total)
        self._metrics.corpora_loaded.labels(kind="layer").set(len(self._lengths))

    def drop(self, blobs: Iterable[CorpusBlob]) -> None:
        """Removes corpora, because they may be damaged; the next use fetches them again."""
        self._drop(map(name_of, blobs))

    def empty(self) -> None:
        """Removes all corpora, because their room is needed."""
        with self._lock:
            names = list(self._lengths)
        self._drop(names)

    def restore(self) -> None:
        """Notes what an earlier process left in the folder, and clears what it left unfinished."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime):
            if path.suffix in (".rc", ".rcp") and _NAME.fullmatch(path.stem):
                self.note_use(path.stem)
            else:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives up temporary files."""
        for corpus in self._lazy.values():
            self._codec.release(corpus)
        self._lazy.clear()

    # -- inside

    def _paths(self, name: Name) -> tuple[Path, Path]:
        return self._folder / f"{name}.rc", self._folder / f"{name}.rcp"

    def _mapped_path(self, blob: CorpusBlob) -> Path:
        return self._paths(name_of(blob))[0]

    def _lazy_key(self, blob: CorpusBlob, known: OpenCorpora) -> tuple[Name, tuple[int, ...]]:
        # The corpus keeps its parents alive, so no other object can have their `id` while it is in the dictionary.
        return name_of(blob), tuple(id(parent) for parent in self.parents_of(blob, known).values())

    def _drop(self, names: Iterable[Name]) -> None:
        for name in names:
            with self._lock:
                self._mapped.pop(name, None)
                self._lengths.pop(name, None)
                for key in [key for key in self._lazy if key[0] == name]:
                    del self._lazy[key]
            for path in self._paths(name):
                path.unlink(missing_ok=True)

    def _open_mapped(self, blob: CorpusBlob) -> LocalCorpus | None:
        name, path = name_of(blob), self._mapped_path(blob)
        found = self._mapped.get(name)
        if found is not None or not path.exists():
            return found
        corpus = self._opened(name, path, lambda: self._codec.open(path, blob.corpus_id))
        if corpus is not None:
            with self._lock:
                corpus = self._mapped.setdefault(name, corpus)
        return corpus

    def _open_lazy(self, blob: CorpusBlob, known: OpenCorpora) -> LocalCorpus | None:
        key, path = self._lazy_key(blob, known), self.packed_path(blob)
        found = self._lazy.get(key)
        if found is not None or not path.exists():
            return found
        parents = self.parents_of(blob, known)
        corpus = self._opened(key[0], path, lambda: self._codec.lazy(path, blob.corpus_id, parents))
        if corpus is not None:
            with self._lock:
                corpus = self._lazy.setdefault(key, corpus)
        return corpus

    def _opened(self, name: Name, path: Path, opening: Callable[[], LocalCorpus]) -> LocalCorpus | None:
        """The corpus that ``opening`` gives; None when its file is damaged, which is then gone."""
        try:
            corpus = opening()
        except CorpusMissing:
            raise  # The file is sound, and the record does not name a parent that it needs.
        except ReductoError as error:
            logs.trouble("corpus-file-damaged", error, corpus=name, file=path.name)
            path.unlink(missing_ok=True)
            return None
        self.note_use(name)
        return corpus
