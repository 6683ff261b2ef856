"""The list of recently served layers, which outlives the process."""

from __future__ import annotations

import shutil
from pathlib import Path

from reducto.oci.names import RepositoryName
from reducto.values import Descriptor, Digest
from sidecar.cache.recently_served import RecentlyServed
from sidecar.records.format import LayerRecord

GOLDEN = Path(__file__).parents[1] / "golden" / "served-v1.json"
APP, TOOL = RepositoryName("team/app"), RepositoryName("tool")


def record(content: bytes) -> LayerRecord:
    instructions = Descriptor("application/octet-stream", Digest.of(b"how"), 3)
    return LayerRecord(digest=Digest.of(content), wire_length=7, instructions=instructions, corpora=())


FIRST, SECOND, THIRD = (record(content) for content in (b"first", b"second", b"third"))


def everything(_: Digest) -> bool:
    return True


def test_the_format_of_the_file_does_not_change(tmp_path: Path) -> None:
    served = RecentlyServed(tmp_path / "served.json")
    served.note(APP, FIRST)
    served.note(TOOL, THIRD)
    served.note(APP, SECOND)
    data = served.changes(everything)
    assert data == GOLDEN.read_bytes()
    assert served.changes(everything) is None, "nothing is new"
    served.note(APP, FIRST)
    assert served.changes(everything) is None, "only its order is"


def test_a_later_process_asks_for_records_and_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "served.json"
    shutil.copy(GOLDEN, path)
    (tmp_path / ".served.json.0123456789ab").write_bytes(b"{")
    served = RecentlyServed(path)
    served.restore()
    assert list(tmp_path.iterdir()) == [path], "what a killed process left is gone"
    assert served.earlier(APP) == [FIRST.digest, SECOND.digest]
    assert not list(served.layers(APP))
    served.note(APP, THIRD)
    served.recall(APP, [SECOND])  # The first layer has no record any more.
    assert list(served.layers(APP)) == [THIRD, SECOND]
    assert served.earlier(APP) == []
    assert served.earlier(TOOL) == [THIRD.digest]


def test_digests_that_were_not_recalled_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "served.json"
    shutil.copy(GOLDEN, path)
    served = RecentlyServed(path)
    served.restore()
    served.note(APP, THIRD)
    data = served.changes(lambda digest: digest != FIRST.digest)
    assert data is not None
    served.write(data)
    later = RecentlyServed(path)
    later.restore()
    assert later.earlier(APP) == [SECOND.digest, THIRD.digest]
    assert later.earlier(TOOL) == [THIRD.digest]


def test_a_layer_that_both_processes_served_stands_in_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "served.json"
    shutil.copy(GOLDEN, path)
    served = RecentlyServed(path)
    served.restore()
    served.note(APP, FIRST)
    data = served.changes(everything)
    assert data is not None
    served.write(data)
    later = RecentlyServed(path)
    later.restore()
    assert later.earlier(APP) == [SECOND.digest, FIRST.digest]
