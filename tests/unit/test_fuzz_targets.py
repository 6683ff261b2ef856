"""The fuzz targets run on their seeds and on some thousand variations of these, the same in each run."""

from __future__ import annotations

import itertools

import pytest

from tests.fuzz.mutate import mutants
from tests.fuzz.targets import TARGETS, corpus_with_correct_hashes, instructions_with_correct_hashes, seed_inputs

RUNS = {"instructions": 400, "packed_corpus": 400, "mapped_corpus": 400}


@pytest.mark.parametrize("name", TARGETS)
def test_variations_are_refused_or_understood(name: str) -> None:
    for data in itertools.islice(mutants(seed_inputs()[name], seed=1), RUNS.get(name, 2000)):
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(f"input: {data[:500]!r}")
            raise


def test_files_with_correct_hashes_are_valid() -> None:
    """Otherwise the fuzzers would always stop at a wrong hash."""
    whole = seed_inputs()["instructions"]
    assert [instructions_with_correct_hashes(data)[:12] for data in whole[2:]] == [data[:12] for data in whole[:2]]
    (corpus,) = seed_inputs()["mapped_corpus"]
    again = corpus_with_correct_hashes(corpus)
    assert corpus.startswith(again)
