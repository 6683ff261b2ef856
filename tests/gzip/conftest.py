"""Tests that judge a model by an encoder of somebody else are integration tests."""

from __future__ import annotations

import pytest

from tests.gzip.oracles import Oracle


@pytest.hookimpl(tryfirst=True)  # before pytest chooses the tests of `-m`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test with a parameter that is a program: all oracles but zlib, which is in Python."""
    for item in items:
        call = getattr(item, "callspec", None)
        parameters = call.params.values() if call else ()
        if any(isinstance(value, Oracle) and value.encoder != "zlib" for value in parameters):
            item.add_marker(pytest.mark.integration)
