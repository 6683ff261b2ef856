"""One suite for every form of the hook index. The shared form runs against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reducto.values import ChunkId, CorpusId
from sidecar.similarity.hook_index import HOOKS_PER_CORPUS, HookIndex, MemoryHookIndex, RocksHookIndex
from sidecar.similarity.redis_index import RedisHookIndex
from tests.support.process import Daemon, find_tool, free_port, listens
from tests.support.requirements import require_tool

OLD, NEW, OTHER = (CorpusId(digit * 64) for digit in "123")


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    require_tool("redis-server")
    port = free_port()
    program = find_tool("redis-server")
    assert program is not None
    argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path]
    with Daemon(argv, tmp_path / "redis.log", listens(port)):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(params=["memory", "rocks", pytest.param("redis", marks=pytest.mark.integration)])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HookIndex]:
    made: HookIndex
    if request.param == "memory":
        made = MemoryHookIndex()
    elif request.param == "rocks":
        made = RocksHookIndex(tmp_path / "rocks")
    else:
        made = RedisHookIndex(request.getfixturevalue("redis_url"))
    yield made
    made.close()


def hooks(*numbers: int) -> list[ChunkId]:
    return [ChunkId(number) for number in numbers]


def test_the_corpus_with_most_hooks_comes_first(index: HookIndex) -> None:
    index.add("a/b", OLD, hooks(1, 2, 3, 4), b"one")
    index.add("a/b", NEW, hooks(3, 4, 5, 2**64 - 1), b"two")
    assert index.rank("a/b", hooks(1, 2, 3), 8) == [OLD, NEW]
    assert index.rank("a/b", hooks(4, 5, 2**64 - 1), 8) == [NEW, OLD]
    assert index.rank("a/b", hooks(1, 2, 3), 1) == [OLD]
    assert index.rank("a/b", hooks(9), 8) == []
    assert index.rank("a/b", [], 8) == []


def test_among_equal_corpora_the_later_comes_first(index: HookIndex) -> None:
    index.add("a/b", OLD, hooks(1, 2), b"")
    index.add("a/b", NEW, hooks(1, 2), b"")
    assert index.rank("a/b", hooks(1, 2), 8) == [NEW, OLD]


def test_scopes_are_separate(index: HookIndex) -> None:
    index.add("tenant-a", OLD, hooks(1), b"secret")
    assert index.rank("tenant-b", hooks(1), 8) == []
    assert index.source("tenant-b", OLD) is None
    index.forget("tenant-b", OLD)
    assert index.source("tenant-a", OLD) == b"secret"


def test_a_forgotten_corpus_is_not_found(index: HookIndex) -> None:
    index.add("a/b", OLD, hooks(1, 2), b"one")
    index.forget("a/b", OLD)
    assert index.rank("a/b", hooks(1, 2), 8) == []
    assert index.source("a/b", OLD) is None
    index.forget("a/b", OTHER)
    index.add("a/b", OLD, hooks(2), b"again")
    assert index.rank("a/b", hooks(1, 2), 8) == [OLD]
    assert index.source("a/b", OLD) == b"again"


def test_many_corpora_with_the_same_hook_stay_bounded(index: HookIndex) -> None:
    corpora = [CorpusId(f"{number:064x}") for number in range(40)]
    for corpus in corpora:
        index.add("a/b", corpus, hooks(7), b"")
    assert index.rank("a/b", hooks(7), 100) == corpora[:-17:-1]


def test_large_corpora_are_sampled_alike(index: HookIndex) -> None:
    index.add("a/b", OLD, hooks(*range(3 * HOOKS_PER_CORPUS)), b"")
    assert index.rank("a/b", hooks(0, 1), 8) == [OLD]
    assert index.rank("a/b", hooks(3 * HOOKS_PER_CORPUS - 1), 8) == []


@pytest.mark.integration
def test_replicas_share_the_index_and_a_flush_is_harmless(redis_url: str) -> None:
    import redis

    one, two = RedisHookIndex(redis_url), RedisHookIndex(redis_url)
    one.add("a/b", OLD, hooks(1), b"source")
    assert two.rank("a/b", hooks(1), 8) == [OLD]
    redis.Redis.from_url(redis_url).flushall()
    assert two.rank("a/b", hooks(1), 8) == []
    assert two.source("a/b", OLD) is None
    one.close()
    two.close()


def test_a_server_that_cannot_be_reached_fails_no_push() -> None:
    index = RedisHookIndex(f"redis://127.0.0.1:{free_port()}/0")
    index.add("a/b", OLD, hooks(1), b"")
    assert index.rank("a/b", hooks(1), 8) == []
    assert index.source("a/b", OLD) is None
    index.forget("a/b", OLD)
    index.close()
