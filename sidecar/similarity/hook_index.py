"""The hook index: which corpora of a scope hold which hooks.

Hooks are sampled fingerprints (sparse indexing, Lillibridge et al., USENIX FAST 2009). The index is a hint: whatever it
loses is learnt again from records. It has three forms behind one interface: `MemoryHookIndex` in memory,
`RocksHookIndex` on the local disk, and `sidecar.similarity.redis_index.RedisHookIndex` on a server that replicas share.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from reducto.values import ChunkId, CorpusId

#: The hooks that the index keeps for one corpus.
HOOKS_PER_CORPUS = 1024
#: The corpora that the index keeps for one hook: the latest ones.
CORPORA_PER_HOOK = 16


class HookIndex(Protocol):
    """From hooks to corpora. Methods block and are thread-safe. None raises for an unknown scope, hook or corpus."""

    def add(self, scope: str, corpus: CorpusId, hooks: Iterable[ChunkId], source: bytes) -> None:
        """Adds a corpus of ``scope``. ``source`` says where it lies, in a form that only the caller needs to know."""

    def source(self, scope: str, corpus: CorpusId) -> bytes | None:
        """The ``source`` with which the corpus was added to this scope; None if it was not."""

    def rank(self, scope: str, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        """At most ``limit`` corpora of ``scope``: those that hold most of the hooks first, the latest among equals."""

    def forget(self, scope: str, corpus: CorpusId) -> None:
        """Removes the corpus from this scope."""

    def close(self) -> None:
        """Writes everything to disk, and frees the index."""


def sample(hooks: Iterable[ChunkId]) -> tuple[ChunkId, ...]:
    """The 1024 smallest hooks, ascending. Similar corpora share most of them, because the choice is always the same."""
    return tuple(sorted(set(hooks))[:HOOKS_PER_CORPUS])


def pack_hooks(hooks: Iterable[ChunkId]) -> bytes:
    """The hooks as bytes, eight for each, little-endian."""
    return b"".join(struct.pack("<Q", hook) for hook in hooks)


def unpack_hooks(data: bytes) -> tuple[ChunkId, ...]:
    """The hooks in bytes of `pack_hooks`. If the last hook is incomplete, it is dropped."""
    numbers = array("Q", data[: len(data) // 8 * 8])
    return tuple(ChunkId(number) for number in numbers)


class MemoryHookIndex:
    """A hook index in memory, which ends with the process."""

    def __init__(self) -> None:
        self._corpora_of: defaultdict[tuple[str, int], OrderedDict[CorpusId, None]] = defaultdict(OrderedDict)
        self._known: dict[tuple[str, CorpusId], tuple[tuple[ChunkId, ...], bytes]] = {}
        self._lock = threading.Lock()

    def add(self, scope: str, corpus: CorpusId, hooks: Iterable[ChunkId], source: bytes) -> None:
        sampled = sample(hooks)
        with self._lock:
            self._known[scope, corpus] = sampled, source
            for hook in sampled:
                self._corpora_of[scope, hook][corpus] = None

    def source(self, scope: str, corpus: CorpusId) -> bytes | None:
        return self._known.get((scope, corpus), ((), None))[1]

    def rank(self, scope: str, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        votes: Counter[CorpusId] = Counter()
        with self._lock:
            for hook in hooks:
                corpora = self._corpora_of.get((scope, hook))
                for corpus in list(corpora)[: -CORPORA_PER_HOOK - 1 : -1] if corpora else ():
                    votes[corpus] += 1
        return [corpus for corpus, _ in votes.most_common(limit)]

    def forget(self, scope: str, corpus: CorpusId) -> None:
        with self._lock:
            for hook in self._known.pop((scope, corpus), ((), b""))[0]:
                corpora = self._corpora_of.get((scope, hook))
                if corpora is not None:
                    corpora.pop(corpus, None)
                    if not corpora:
                        del self._corpora_of[scope, hook]

    def close(self) -> None:
        return None


class RocksHookIndex:
    """A hook index on the local disk, so that a restarted sidecar need not read all records again.

    It has three kinds of keys: ``k | scope | corpus`` for the corpus's hooks, ``s | scope | corpus`` for its source,
    and ``h | scope | hook`` for the latest corpora that hold the hook, 32 bytes each, oldest first. A scope is hashed
    to 16 bytes.
    """

    def __init__(self, folder: Path) -> None:
        from rocksdict import Options, Rdict, WriteOptions

        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(64)
        folder.mkdir(parents=True, exist_ok=True)
        self._db: Any = Rdict(str(folder), options)
        # There is no write-ahead log, because each write to it would hold up all Python threads, for long if the disk
        # is busy with spools. Whatever a crash loses is learnt again from the records.
        unlogged: Any = WriteOptions()
        unlogged.disable_wal = True
        self._db.set_write_options(unlogged)
        self._lock = threading.Lock()
        """Held by writers while they read a hook's list of corpora, change it and write it back."""

    def add(self, scope: str, corpus: CorpusId, hooks: Iterable[ChunkId], source: bytes) -> None:
        sampled, name = sample(hooks), bytes.fromhex(corpus)
        with self._lock:
            for hook in sampled:
                key = hook_key(scope, hook)
                corpora = self._db.get(key) or b""
                if name not in _names(corpora):
                    self._db[key] = (corpora + name)[-32 * CORPORA_PER_HOOK :]
        self._db[key_of(b"k", scope, corpus)] = pack_hooks(sampled)
        self._db[key_of(b"s", scope, corpus)] = source

    def source(self, scope: str, corpus: CorpusId) -> bytes | None:
        found: bytes | None = self._db.get(key_of(b"s", scope, corpus))
        return found

    def rank(self, scope: str, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        votes: Counter[bytes] = Counter()
        for hook in hooks:
            votes.update(reversed(_names(self._db.get(hook_key(scope, hook)) or b"")))
        return [CorpusId(name.hex()) for name, _ in votes.most_common(limit)]

    def forget(self, scope: str, corpus: CorpusId) -> None:
        key, name = key_of(b"k", scope, corpus), bytes.fromhex(corpus)
        with self._lock:
            for hook in unpack_hooks(self._db.get(key) or b""):
                corpora = _names(self._db.get(hook_key(scope, hook)) or b"")
                self._db[hook_key(scope, hook)] = b"".join(other for other in corpora if other != name)
        del self._db[key]
        del self._db[key_of(b"s", scope, corpus)]

    def close(self) -> None:
        self._db.close()


def _scope_key(scope: str) -> bytes:
    return hashlib.blake2b(scope.encode(), digest_size=16).digest()


def hook_key(scope: str, hook: int) -> bytes:
    """The key of the list of corpora that hold a hook."""
    return b"h" + _scope_key(scope) + struct.pack(">Q", hook)


def key_of(kind: bytes, scope: str, corpus: CorpusId) -> bytes:
    """The key of a corpus's hooks (``kind`` is ``b"k"``) or of its source (``b"s"``)."""
    return kind + _scope_key(scope) + bytes.fromhex(corpus)


def _names(corpora: bytes) -> list[bytes]:
    return [corpora[at : at + 32] for at in range(0, len(corpora), 32)]
