"""The queue of work for idle hours, which outlives the process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reducto.oci.names import RepositoryName
from reducto.values import CorpusId, Digest
from sidecar.cache.idle_queue import IdleQueue, Work

GOLDEN = Path(__file__).parents[1] / "golden" / "waiting-v1.json"
APP, TOOL = RepositoryName("team/app"), RepositoryName("tool")
CORPUS, OTHER = CorpusId("a" * 64), CorpusId("b" * 64)
FIRST, SECOND, THIRD = (Digest.of(content) for content in (b"first", b"second", b"third"))


def test_the_format_of_the_file_does_not_change(tmp_path: Path) -> None:
    waiting = IdleQueue(tmp_path / "waiting.json", wanted=True)
    waiting.note(TOOL, [], THIRD)
    waiting.note(APP, [OTHER], SECOND)
    waiting.note(APP, [CORPUS], FIRST)
    assert (waiting.corpora, waiting.layers) == (2, 3)
    assert waiting.changes() == GOLDEN.read_bytes()
    assert waiting.changes() is None, "nothing is new"


def test_a_later_process_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "waiting.json"
    shutil.copy(GOLDEN, path)
    waiting = IdleQueue(path, wanted=True)
    waiting.restore()
    assert waiting.next() == (TOOL, Work(set(), {THIRD}))
    waiting.done(TOOL, Work(set(), {THIRD}))
    assert waiting.next() == (APP, Work({CORPUS, OTHER}, {FIRST, SECOND}))
    data = waiting.changes()
    assert data is not None
    waiting.write(data)
    again = IdleQueue(path, wanted=True)
    again.restore()
    assert again.next() == waiting.next()


def test_work_that_was_added_meanwhile_still_waits(tmp_path: Path) -> None:
    waiting = IdleQueue(tmp_path / "waiting.json", wanted=True)
    waiting.note(APP, [CORPUS], FIRST)
    found = waiting.next()
    assert found is not None
    waiting.note(APP, [OTHER], SECOND)
    waiting.done(*found)
    assert waiting.next() == (APP, Work({OTHER}, {SECOND}))
    waiting.done(APP, Work({OTHER}, {SECOND}))
    assert waiting.next() is None


def test_a_queue_that_is_not_wanted_stays_empty(tmp_path: Path) -> None:
    shutil.copy(GOLDEN, tmp_path / "waiting.json")
    waiting = IdleQueue(tmp_path / "waiting.json", wanted=False)
    waiting.restore()
    waiting.note(APP, [CORPUS], FIRST)
    assert waiting.next() is None
    assert waiting.changes() is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"version": 2, "repositories": {}}', b'{"version": 1, "repositories": {"app": {"corpora": ["x"]}}}'],
)
def test_an_unreadable_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "waiting.json"
    path.write_bytes(content)
    waiting = IdleQueue(path, wanted=True)
    waiting.restore()
    assert waiting.next() is None
