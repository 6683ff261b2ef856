"""Docker's credentials: its file in every form, and credential helpers that really run."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from reducto.errors import UsageError
from reducto.oci.address import DOCKER_HUB
from reducto.oci.credentials import Credential, DockerCredentials

ALICE = Credential("alice", "wonder:land")
AUTH = base64.b64encode(b"alice:wonder:land").decode()
HOST = "registry.example:5000"


def found(document: dict[str, Any], host: str = HOST) -> Credential | None:
    return DockerCredentials(document).find(host)


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of ``docker-credential-test``, which answers from ``<server>`` files there and notes who was asked."""
    program = tmp_path / "docker-credential-test"
    program.write_text(
        "#!/bin/sh\n"
        f'read -r server; echo "$1 $server" >> {tmp_path}/asked\n'
        f'file={tmp_path}/$(echo "$server" | tr / _)\n'
        'if [ -f "$file" ]; then cat "$file"; else echo "credentials not found in native keychain"; exit 1; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def know(folder: Path, server: str, user: str, secret: str) -> None:
    document = {"ServerURL": server, "Username": user, "Secret": secret}
    (folder / server.replace("/", "_")).write_text(json.dumps(document))


@pytest.mark.parametrize(
    "name", [HOST, f"https://{HOST}", f"http://{HOST}/", f"https://{HOST}/v1/", f"https://{HOST}/v2/"]
)
def test_an_entry_may_be_named_in_several_ways(name: str) -> None:
    assert found({"auths": {"other.example": {"auth": "eDp5"}, name: {"auth": AUTH}}}) == ALICE


def test_forms_of_an_entry() -> None:
    assert found({"auths": {HOST: {"username": "alice", "password": "wonder:land"}}}) == ALICE
    padded = base64.b64encode(b"alice:wonder:land\0\0").decode()
    assert found({"auths": {HOST: {"auth": padded}}}) == ALICE
    user = base64.b64encode(b"alice:").decode()
    token = found({"auths": {HOST: {"auth": user, "identitytoken": "refresh"}}})
    assert token == Credential("alice", identity_token="refresh")
    assert found({"auths": {HOST: {"registrytoken": "bearer"}}}) == Credential(registry_token="bearer")
    for nothing in ({}, {"auths": {}}, {"auths": {HOST: {}}}, {"auths": {HOST: {"email": "a@b"}}}, {"auths": None}):
        assert found(nothing) is None


def test_the_exact_name_goes_before_an_address() -> None:
    other = base64.b64encode(b"bob:builder").decode()
    assert found({"auths": {f"https://{HOST}/v1/": {"auth": other}, HOST: {"auth": AUTH}}}) == ALICE


def test_another_port_is_another_registry() -> None:
    assert found({"auths": {"registry.example": {"auth": AUTH}, "registry.example:5001": {"auth": AUTH}}}) is None


def test_both_names_of_this_machine() -> None:
    assert found({"auths": {"localhost:5000": {"auth": AUTH}}}, "127.0.0.1:5000") == ALICE
    assert found({"auths": {"127.0.0.1:5000": {"auth": AUTH}}}, "localhost:5000") == ALICE


def test_docker_hub_is_kept_under_a_name_of_its_own() -> None:
    assert found({"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}}, DOCKER_HUB) == ALICE


def test_a_helper_is_asked_as_docker_asks_it(helper: Path) -> None:
    know(helper, HOST, "alice", "wonder:land")
    assert found({"credHelpers": {HOST: "test"}}) == ALICE
    assert found({"credsStore": "test"}) == ALICE
    assert (helper / "asked").read_text() == f"get {HOST}\n" * 2


def test_a_helpers_identity_token(helper: Path) -> None:
    know(helper, HOST, "<token>", "refresh")
    assert found({"credsStore": "test"}) == Credential(identity_token="refresh")


def test_the_order_of_places(helper: Path) -> None:
    know(helper, HOST, "helper", "h")
    inline = {"auths": {HOST: {"auth": AUTH}}}
    assert found({**inline, "credHelpers": {HOST: "test"}, "credsStore": "absent"}) == Credential("helper", "h")
    assert found({**inline, "credsStore": "test"}) == ALICE
    assert found({"auths": {HOST: {}}, "credsStore": "test"}) == Credential("helper", "h")
    assert found({"credHelpers": {"other.example": "absent"}, "credsStore": "test"}) == Credential("helper", "h")


def test_a_store_is_asked_for_docker_hub_by_its_address(helper: Path) -> None:
    know(helper, "https://index.docker.io/v1/", "alice", "wonder:land")
    assert found({"credsStore": "test"}, DOCKER_HUB) == ALICE


def test_a_helper_that_fails_leaves_a_reason(helper: Path) -> None:
    credentials = DockerCredentials({"credsStore": "test"})
    assert credentials.find(HOST) is None
    assert credentials.problem == "", "a store that does not know the host is nothing to complain of"
    missing = DockerCredentials({"credsStore": "missing"})
    assert missing.find(HOST) is None
    assert "docker-credential-missing cannot be asked" in missing.problem
    (helper / HOST).write_text("no JSON")
    odd = DockerCredentials({"credHelpers": {HOST: "test"}})
    assert odd.find(HOST) is None
    assert "something else" in odd.problem
    (helper / "docker-credential-test").write_text("#!/bin/sh\necho the vault is sealed >&2; exit 3\n")
    sealed = DockerCredentials({"credHelpers": {HOST: "test"}})
    assert sealed.find(HOST) is None
    assert "the vault is sealed" in sealed.problem


@pytest.mark.parametrize(
    "document",
    [
        {"auths": []},
        {"credHelpers": "x"},
        {"auths": {HOST: {"auth": "!!"}}},
        {"auths": {HOST: {"auth": 5}}},
        {"auths": {HOST: "x"}},
        {"auths": {HOST: {"auth": base64.b64encode(b"\xff\xfe:x").decode()}}},
        {"credHelpers": {HOST: "../../bin/sh"}},
        {"credsStore": ["x"]},
    ],
)
def test_malformed_documents_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        found(document)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert DockerCredentials.of_user().find(HOST) is None
    file.write_text(json.dumps({"auths": {HOST: {"auth": AUTH}}}))
    assert DockerCredentials.of_user().find(HOST) == ALICE
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert DockerCredentials.of_user().find(HOST) is None
    for content in ("{", "[]", "[" * 100_000, "\0"):
        file.write_text(content)
        with pytest.raises(UsageError, match="cannot be used"):
            DockerCredentials.load(file)
    with pytest.raises(UsageError, match="cannot be used"):
        DockerCredentials.load(tmp_path / "absent.json")


def test_secrets_are_not_shown() -> None:
    assert "wonder" not in repr(ALICE)
    assert ALICE.basic == f"Basic {AUTH}"
    assert Credential("alice").basic is None
    shown = repr(Credential(identity_token="refresh", registry_token="bearer"))
    assert "refresh" not in shown
    assert "bearer" not in shown
