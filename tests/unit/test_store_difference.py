"""The comparison of two stores notices every byte but times and signatures."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.store_difference import compare_caches, compare_stores

LAYER = "a" * 64
INSTRUCTIONS = b"instructions" * 100
CORPUS = b"\x89corpus" * 100
RECEIPT = {"encoder": "zlib-6", "wire_bytes": 4711, "score": 0.5, "seconds": 1.25}
NOTES = {
    "io.reducto.receipt": json.dumps(RECEIPT, separators=(",", ":")),
    "io.reducto.signed.signature": "ed25519:AAAA",
    "org.opencontainers.image.created": "2026-01-02T03:04:05.678Z",
}
LATER = {
    "io.reducto.receipt": json.dumps({**RECEIPT, "seconds": 22.125}, separators=(",", ":")),
    "io.reducto.signed.signature": "ed25519:BBBB",
    "org.opencontainers.image.created": "2026-11-12T13:14:15.987Z",
}


class Store:
    """An embedded store with one repository, whose manifests name each other's blobs by digest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "team" / "app" / "_oci"
        self.entries: list[dict[str, Any]] = []
        self.tag("base", self.put(b'{\n   "schemaVersion": 2\n}'))

    def put(self, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        path = self.home / "blobs" / "sha256" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def tag(self, name: str, manifest: dict[str, Any]) -> None:
        self.entries.append({**manifest, "annotations": {"org.opencontainers.image.ref.name": name}})
        index = {"schemaVersion": 2, "manifests": self.entries}
        (self.home / "index.json").write_text(json.dumps(index))

    def put_record(
        self, notes: dict[str, str], corpus: bytes = CORPUS, write: Callable[..., str] | None = None
    ) -> dict[str, Any]:
        """A layer record of instructions and a corpus; ``write`` turns it into text."""
        layers = [self.put(INSTRUCTIONS), self.put(corpus)]
        record = {"annotations": notes, "layers": layers, "schemaVersion": 2}
        return self.put((write or compact)(record).encode())

    def put_referrer(self, subject: str, manifest: dict[str, Any]) -> None:
        marker = self.home / "referrers" / subject / manifest["digest"][7:]
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps(manifest))


def compact(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"))


def reordered(record: dict[str, Any]) -> str:
    return compact(dict(reversed(record.items())))


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    return Store(tmp_path / "old"), Store(tmp_path / "new")


def tag_record(store: Store, *arguments: Any) -> None:
    store.tag(f"reducto-sha256-{LAYER}", store.put_record(*arguments))


def found(stores: tuple[Store, Store]) -> list[str]:
    old, new = stores
    return [str(each) for each in compare_stores(old.root, new.root)]


def test_times_seconds_and_signatures_are_no_difference(stores: tuple[Store, Store]) -> None:
    for store, notes in zip(stores, (NOTES, LATER), strict=True):
        tag_record(store, notes)
        store.put_referrer("b" * 64, store.put_record(notes))
    old, new = stores
    assert old.entries[1]["digest"] != new.entries[1]["digest"], "the records' own digests follow from their times"
    assert found(stores) == []


def test_a_changed_byte_of_a_blob_is_told_with_its_offset(stores: tuple[Store, Store]) -> None:
    for store in stores:
        tag_record(store, NOTES)
    path = next(each for each in stores[1].home.rglob("*") if each.is_file() and each.read_bytes() == CORPUS)
    path.write_bytes(CORPUS[:500] + b"\x00" + CORPUS[501:])
    (message,) = found(stores)
    assert message.startswith("blob team/app/_oci/blobs/sha256/")
    assert "byte 500 " in message


def test_a_changed_byte_under_another_digest_is_told_with_path_and_offset(stores: tuple[Store, Store]) -> None:
    tag_record(stores[0], NOTES, CORPUS)
    tag_record(stores[1], LATER, CORPUS[:-1] + b"\x00")
    messages = found(stores)
    assert len(messages) == 3, "the record, the corpus that only one has, and the one that only the other has"
    assert messages[0].startswith(f"manifest team/app reducto-sha256-{LAYER}: $.layers[1].digest is ")
    assert f"first difference at byte {len(CORPUS) - 1})" in messages[0]
    assert sorted("only the old" in each for each in messages[1:]) == [False, True]


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"org.opencontainers.image.created": "2026-01-02T03:04:05Z"}, "image.created"),
        ({"io.reducto.receipt": NOTES["io.reducto.receipt"].replace("4711", "4712")}, "io.reducto.receipt.wire_bytes"),
        ({"io.reducto.receipt": NOTES["io.reducto.receipt"].replace("1.25", "1")}, "io.reducto.receipt.seconds"),
        ({"io.reducto.receipt": NOTES["io.reducto.receipt"].replace(",", ", ")}, "io.reducto.receipt"),
        ({"io.reducto.version": "2"}, "its keys"),
    ],
    ids=["time-format", "receipt", "receipt-number-type", "receipt-white-space", "annotation-added"],
)
def test_everything_else_in_a_record_counts(stores: tuple[Store, Store], changed: dict[str, str], where: str) -> None:
    tag_record(stores[0], NOTES)
    tag_record(stores[1], {**NOTES, **changed})
    (message,) = found(stores)
    assert where in message


@pytest.mark.parametrize("write", [json.dumps, reordered], ids=["white-space", "order"])
def test_the_way_a_record_is_written_counts(stores: tuple[Store, Store], write: Callable[..., str]) -> None:
    tag_record(stores[0], NOTES)
    tag_record(stores[1], NOTES, CORPUS, write)
    (message,) = found(stores)
    assert message.startswith("manifest team/app reducto-sha256-")


def test_manifests_without_a_tag_are_compared(stores: tuple[Store, Store]) -> None:
    for store, notes in zip(stores, (NOTES, LATER), strict=True):
        store.put_record(notes)
    assert found(stores) == []
    stores[1].put_record({**LATER, "io.reducto.version": "2"})
    (message,) = found(stores)
    assert message.startswith("manifest team/app untagged-")
    assert message.endswith("only the new store has it")


def test_a_tag_on_another_manifest_and_a_missing_tag_are_told(stores: tuple[Store, Store]) -> None:
    first, second = b'{"schemaVersion":2,"mediaType":"first"}', b'{"schemaVersion":2,"mediaType":"second"}'
    for store, manifests in zip(stores, ((first, second), (second, first)), strict=True):
        store.tag("tag-0", store.put(manifests[0]))
        store.tag("tag-1", store.put(manifests[1]))
    messages = found(stores)
    assert messages[0].startswith(
        "manifest team/app tag-0: $.mediaType is 'first' in the old store, 'second' in the new"
    )
    assert len(messages) == 2
    stores[1].tag("tag-2", stores[1].entries.pop())
    assert "manifest team/app tag-1: only the old store has it" in found(stores)


def test_the_order_of_the_index_counts(stores: tuple[Store, Store]) -> None:
    for store, tags in zip(stores, (("one", "two"), ("two", "one")), strict=True):
        for tag in tags:
            store.tag(tag, store.put(b'{"schemaVersion":2,"tagged":"%s"}' % tag.encode()))
    messages = found(stores)
    assert messages[0].startswith("index team/app: $.manifests[1].digest is 'one' in the old store, 'two' in the new")
    assert all(message.startswith("index team/app: $.manifests[") for message in messages)


def test_other_files_of_a_store_count(stores: tuple[Store, Store]) -> None:
    for store, text in zip(stores, ("1.0.0", "1.0.1"), strict=True):
        (store.home / "oci-layout").write_text(text)
    (message,) = found(stores)
    assert message == "file team/app/_oci/oci-layout: the first difference is at byte 4 (5 and 5 bytes)"


def test_a_missing_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        compare_stores(tmp_path / "none", tmp_path / "none")


def test_hint_files_must_be_there_and_other_cached_files_may_be_dropped(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for cache in (old, new):
        (cache / "corpora").mkdir(parents=True)
        (cache / "waiting.json").write_text('{"version": 1}')
        (cache / "corpora" / "kept.rc").write_bytes(CORPUS)
    (old / "corpora" / "dropped.rc").write_bytes(CORPUS)
    assert compare_caches(old, new) == []
    (new / "corpora" / "kept.rc").write_bytes(CORPUS + b"\x00")
    (new / "waiting.json").write_text('{"version": 2}')
    (old / "served.json").write_text("{}")
    sizes = f"{len(CORPUS)} and {len(CORPUS) + 1} bytes"
    assert [str(each) for each in compare_caches(old, new)] == [
        f"cache corpora/kept.rc: the first difference is at byte {len(CORPUS)} ({sizes})",
        "cache served.json: only the old store has it",
        "cache waiting.json: the first difference is at byte 12 (14 and 14 bytes)",
    ]
