"""The hook index: which corpora of a scope hold which hooks. A hint only, rebuildable from records.

Three forms behind one interface: `MemoryHookIndex` for tests and small registries, `RocksHookIndex` on local disk, and
`sidecar.similarity.redis_index.RedisHookIndex` on a server that replicas share.
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

HOOKS_PER_CORPUS = 1024
CORPORA_PER_HOOK = 16


class HookIndex(Protocol):
    """All calls block, are thread-safe, and never raise for what is not there."""

    def add(self, scope: str, corpus: CorpusId, hooks: Iterable[ChunkId], source: bytes) -> None:
        """Notes a corpus of ``scope``; ``source`` says where it lies, in the caller's own words."""

    def source(self, scope: str, corpus: CorpusId) -> bytes | None:
        """What was noted as the corpus's source; None for a corpus not noted in this scope."""

    def rank(self, scope: str, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        """Corpora of ``scope`` that hold most of the hooks, best first; of equals the later noted."""

    def forget(self, scope: str, corpus: CorpusId) -> None:
        """Never elects the corpus in this scope again, unless it is noted again."""

    def close(self) -> None:
        """Flushes."""


def sample(hooks: Iterable[ChunkId]) -> tuple[ChunkId, ...]:
    """The smallest hooks: every corpus samples alike, so relatives keep the same ones."""
    return tuple(sorted(set(hooks))[:HOOKS_PER_CORPUS])


def pack_hooks(hooks: Iterable[ChunkId]) -> bytes:
    """Eight bytes each, little-endian."""
    return b"".join(struct.pack("<Q", hook) for hook in hooks)


def unpack_hooks(data: bytes) -> tuple[ChunkId, ...]:
    """What `pack_hooks` packed; an incomplete end is dropped."""
    numbers = array("Q", data[: len(data) // 8 * 8])
    return tuple(ChunkId(number) for number in numbers)


class MemoryHookIndex:
    """In memory; gone with the process."""

    def __init__(self) -> None:
        self._holders: defaultdict[tuple[str, int], OrderedDict[CorpusId, None]] = defaultdict(OrderedDict)
        self._known: dict[tuple[str, CorpusId], tuple[tuple[ChunkId, ...], bytes]] = {}
        self._guard = threading.Lock()

    def add(self, scope: str, corpus: CorpusId, hooks: Iterable[ChunkId], source: bytes) -> None:
        kept = sample(hooks)
        with self._guard:
            self._known[scope, corpus] = kept, source
            for hook in kept:
                self._holders[scope, hook][corpus] = None

    def source(self, scope: str, corpus: CorpusId) -> bytes | None:
        return self._known.get((scope, corpus), ((), None))[1]

    def rank(self, scope: str, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        votes: Counter[CorpusId] = Counter()
        with self._guard:
            for hook in hooks:
                holders = self._holders.get((scope, hook))
                for corpus in list(holders)[: -CORPORA_PER_HOOK - 1 : -1] if holders else ():
                    votes[corpus] += 1
        return [corpus for corpus, _ in votes.most_common(limit)]

    def forget(self, scope: str, corpus: CorpusId) -> None:
        with self._guard:
            for hook in self._known.pop((scope, corpus), ((), b""))[0]:
                holders = self._holders.get((scope, hook))
                if holders is not None:
                    holders.pop(corpus, None)
                    if not holders:
                        del self._holders[scope, hook]

    def close(self) -> None:
        return None


class RocksHookIndex:
    """On local disk, so that a restarted sidecar need not read all records again.

    Keys: ``k | scope | corpus`` -> its hooks; ``s | scope | corpus`` -> its source; ``h | scope | hook`` -> the latest
    corpora that hold it, 32 bytes each, oldest first. Scopes are hashed to 16 bytes.
    """

    def __init__(self, folder: Path) -> None:
        from rocksdict import Options, Rdict, WriteOptions

        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(64)
        folder.mkdir(parents=True, exist_ok=True)
        self._db: Any = Rdict(str(folder), options)
        # What a crash loses is learnt again from the records. A log would be written while every other thread waits,
        # and a disk that is busy with spools lets it wait for long.
        unlogged: Any = WriteOptions()
        unlogged.disable_wal = True
        self._db.set_write_options(unlogged)
        self._guard = threading.Lock()
        """Held by writers: they read a list of holders, change it and put it back."""

    def add(self, scope: str, corpus: CorpusId, hooks: Iterable[ChunkId], source: bytes) -> None:
        kept, name = sample(hooks), bytes.fromhex(corpus)
        with self._guard:
            for hook in kept:
                key = hook_key(scope, hook)
                holders = self._db.get(key) or b""
                if name not in _names(holders):
                    self._db[key] = (holders + name)[-32 * CORPORA_PER_HOOK :]
        self._db[key_of(b"k", scope, corpus)] = pack_hooks(kept)
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
        with self._guard:
            for hook in unpack_hooks(self._db.get(key) or b""):
                holders = _names(self._db.get(hook_key(scope, hook)) or b"")
                self._db[hook_key(scope, hook)] = b"".join(holder for holder in holders if holder != name)
        del self._db[key]
        del self._db[key_of(b"s", scope, corpus)]

    def close(self) -> None:
        self._db.close()


def _scope_key(scope: str) -> bytes:
    return hashlib.blake2b(scope.encode(), digest_size=16).digest()


def hook_key(scope: str, hook: int) -> bytes:
    """The key under which a hook's holders are."""
    return b"h" + _scope_key(scope) + struct.pack(">Q", hook)


def key_of(kind: bytes, scope: str, corpus: CorpusId) -> bytes:
    """The key of what is noted (``kind``) of a corpus."""
    return kind + _scope_key(scope) + bytes.fromhex(corpus)


def _names(holders: bytes) -> list[bytes]:
    return [holders[at : at + 32] for at in range(0, len(holders), 32)]
