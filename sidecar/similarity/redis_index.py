"""The hook index on a server of the Redis protocol (Valkey, Redis, Kvrocks), which replicas share.

The index is a hint. If the server cannot be reached or was flushed, pushes find fewer similar corpora and store more;
nothing fails.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from reducto.errors import UsageError
from reducto.values import ChunkId, CorpusId
from sidecar.runtime import logs
from sidecar.similarity.hook_index import CORPORA_PER_HOOK, hook_key, key_of, pack_hooks, sample, unpack_hooks

_TIMEOUT_SECONDS = 2.0
_PREFIX = b"reducto:"
Value = TypeVar("Value")


class RedisHookIndex:
    """A `HookIndex` on a server. Its keys are those of `RocksHookIndex` with the prefix ``reducto:``.

    The corpora that hold a hook are a list of the server, oldest first.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise UsageError("dedupe.index is set, but the Redis client is not installed: reducto[redis]") from error
        self._failed = redis.RedisError
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
        )

    def add(self, scope: str, corpus: CorpusId, hooks: Iterable[ChunkId], source: bytes) -> None:
        sampled, name = sample(hooks), bytes.fromhex(corpus)

        def write() -> None:
            with self._redis.pipeline(transaction=False) as pipeline:
                for hook in sampled:
                    key = _PREFIX + hook_key(scope, hook)
                    pipeline.lrem(key, 0, name).rpush(key, name).ltrim(key, -CORPORA_PER_HOOK, -1)
                pipeline.set(_PREFIX + key_of(b"k", scope, corpus), pack_hooks(sampled))
                pipeline.set(_PREFIX + key_of(b"s", scope, corpus), source)
                pipeline.execute()

        self._tried(write, None)

    def source(self, scope: str, corpus: CorpusId) -> bytes | None:
        found: bytes | None = self._tried(lambda: self._redis.get(_PREFIX + key_of(b"s", scope, corpus)), None)
        return found

    def rank(self, scope: str, hooks: Sequence[ChunkId], limit: int) -> list[CorpusId]:
        def read() -> list[list[bytes]]:
            with self._redis.pipeline(transaction=False) as pipeline:
                for hook in hooks:
                    pipeline.lrange(_PREFIX + hook_key(scope, hook), 0, -1)
                found: list[list[bytes]] = pipeline.execute()
                return found

        votes: Counter[bytes] = Counter()
        nothing: list[list[bytes]] = []
        for corpora in self._tried(read, nothing):
            votes.update(reversed(corpora))
        return [CorpusId(name.hex()) for name, _ in votes.most_common(limit)]

    def forget(self, scope: str, corpus: CorpusId) -> None:
        key, name = _PREFIX + key_of(b"k", scope, corpus), bytes.fromhex(corpus)

        def remove() -> None:
            sampled = unpack_hooks(self._redis.get(key) or b"")
            with self._redis.pipeline(transaction=False) as pipeline:
                for hook in sampled:
                    pipeline.lrem(_PREFIX + hook_key(scope, hook), 0, name)
                pipeline.delete(key, _PREFIX + key_of(b"s", scope, corpus))
                pipeline.execute()

        self._tried(remove, None)

    def close(self) -> None:
        self._redis.close()

    def _tried(self, call: Callable[[], Value], otherwise: Value) -> Value:
        """The result of ``call``; ``otherwise`` if the server cannot be reached."""
        try:
            return call()
        except self._failed as error:
            logs.event("hook-index-unreachable", logging.WARNING, reason=str(error)[:200])
            return otherwise
