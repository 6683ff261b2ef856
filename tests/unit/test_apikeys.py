"""API keys: tokens cannot be guessed, and cannot be computed from their hashes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reducto.errors import UsageError
from reducto.trust.api_keys import ApiKey, ApiKeys, ApiScope, hash_token


def test_a_token_finds_its_key_and_nothing_else_does() -> None:
    (one, token), (other, _) = ApiKey.create("one", [ApiScope.READ]), ApiKey.create("other", [ApiScope.ADMIN])
    keys = ApiKeys.parse(ApiKeys([one, other]).to_text())
    found = keys.find(token)
    assert found is not None
    assert (found.key_id, found.name, found.scopes) == (one.key_id, "one", {ApiScope.READ})
    swapped = token.replace(one.key_id, other.key_id)
    for wrong in ("", token[:-1], token + "A", swapped, token.swapcase(), one.token_hash, f" {token}", "rdk__"):
        assert keys.find(wrong) is None


def test_the_hash_is_forever() -> None:
    assert hash_token("rdk_x") == "sha256:3be520929e503100c649b6d79b3a64a8dc0c679cafed14390484776380e120ac"


def test_expired_keys_are_not_found() -> None:
    end = datetime(2026, 11, 22, tzinfo=UTC)
    key, token = ApiKey.create("brief", [ApiScope.READ], end)
    assert ApiKeys([key]).find(token, end)
    assert ApiKeys([key]).find(token, end + timedelta(seconds=1)) is None


def test_keys_need_a_name_and_a_scope() -> None:
    with pytest.raises(UsageError):
        ApiKey.create(" ", [ApiScope.READ])
    with pytest.raises(UsageError):
        ApiKey.create("x", [])


GOOD = '{"id":"a","name":"n","hash":"sha256:' + "0" * 64 + '","scopes":["read"],"created":"2026-01-01"}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 1}',
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": [{}]}',
        '{"version": 1, "keys": [1]}',
        '{"version":1,"keys":[' + GOOD.replace("read", "everything") + "]}",
        '{"version":1,"keys":[' + GOOD.replace("sha256:", "") + "]}",
        '{"version":1,"keys":[' + GOOD.replace("2026-01-01", "soon") + "]}",
    ],
)
def test_damaged_files_are_refused(text: str) -> None:
    assert list(ApiKeys.parse('{"version":1,"keys":[' + GOOD + "]}"))
    with pytest.raises(UsageError):
        ApiKeys.parse(text)
