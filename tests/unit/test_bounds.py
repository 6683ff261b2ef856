"""A record is bounded before it is believed: counts, lengths, texts and depth."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from reducto.errors import Corrupt
from reducto.values import CorpusId, Descriptor, Digest
from sidecar.records import bounds
from sidecar.records.format import CorpusBlob, ImageRecord, LayerRecord, overflow_of, parse_record

BLOB = Descriptor("application/x", Digest.of(b"blob"), 4)


def corpus(number: int, **more: Any) -> CorpusBlob:
    blob = Descriptor("application/x", Digest.of(b"corpus %d" % number), 4)
    return CorpusBlob(CorpusId(f"{number:064x}"), blob, 1000, **more)


def record(**more: Any) -> dict[str, Any]:
    layer = LayerRecord(digest=Digest.of(b"layer"), wire_length=5, instructions=BLOB, corpora=(corpus(1),), **more)
    document: dict[str, Any] = json.loads(layer.to_manifest())
    assert parse_record(json.dumps(document).encode()) == layer
    return document


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    document = record()
    change(document)
    return json.dumps(document).encode()


def annotate(index: int, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        target = document if index < 0 else document["layers"][index]
        target["annotations"][f"io.reducto.{key}"] = value

    return change


IDS = [f"{number:064x}" for number in range(1, 30_001)]
HOSTILE = {
    "underscores": annotate(0, "layer.length", "1_9_2"),
    "other digits": annotate(0, "layer.length", "٣٤٥"),
    "negative": annotate(1, "corpus.length", "-5"),
    "plus": annotate(1, "corpus.length", "+5"),
    "30 digits": annotate(0, "layer.length", "9" * 30),
    "no number": annotate(0, "layer.length", 5),
    "a corpus twice": annotate(0, "layer.corpora", f"{IDS[0]},{IDS[0]}"),
    "many corpora": annotate(0, "layer.corpora", ",".join(IDS)),
    "many repeats": annotate(0, "layer.corpora", ",".join([IDS[0]] * 30_000)),
    "many parents": annotate(1, "corpus.parents", ",".join(IDS)),
    "long hooks": annotate(1, "hooks", "AAAA" * 100_000),
    "odd hooks": annotate(1, "hooks", "AAAA"),
    "long envelope": annotate(0, "envelope", "x" * 100_000),
    "deep receipt": annotate(-1, "receipt", "[" * 100_000),
    "receipt that is a list": annotate(-1, "receipt", "[]"),
    "long receipt": annotate(-1, "receipt", json.dumps({"x": "y" * 100_000})),
    "many descriptors": lambda document: document["layers"].extend([document["layers"][1]] * 20_000),
    "layers that are no list": lambda document: document.update(layers={"a": 1}),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=list(HOSTILE))
def test_what_no_sidecar_writes_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(Corrupt):
        parse_record(changed(change))


@pytest.mark.parametrize("change", HOSTILE.values(), ids=list(HOSTILE))
def test_the_search_for_an_overflow_fails_cleanly(change: Callable[[dict[str, Any]], None]) -> None:
    with contextlib.suppress(Corrupt):
        assert overflow_of(changed(change)) is None


def test_references_of_all_layers_are_counted_together() -> None:
    corpora = tuple(corpus(number) for number in range(bounds.CORPORA_LIMIT))
    count = bounds.REFERENCES_LIMIT // bounds.CORPORA_LIMIT

    def image(layers: int) -> bytes:
        made = tuple(
            LayerRecord(digest=Digest.of(b"%d" % number), wire_length=1, instructions=BLOB, corpora=corpora)
            for number in range(layers)
        )
        return ImageRecord(b"{}", "application/x", made, ()).to_manifest()

    assert len(parse_record(image(count)).layers) == count  # type: ignore[union-attr]
    with pytest.raises(Corrupt, match="together"):
        parse_record(image(count + 1))


def test_limits_are_above_what_a_sidecar_writes() -> None:
    hooks = bytes(bounds.HOOKS_LIMIT_BYTES)
    parents = tuple(CorpusId(name) for name in IDS[: bounds.CORPORA_LIMIT])
    whole = corpus(0, hooks=hooks, parents=parents, envelope="v1." + "A" * 200)
    assert CorpusBlob.from_json(whole.to_json()) == whole
    record(receipt={"encoder": "go-6", "shares": [0.5] * 100})
