"""``reducto keys`` and ``reducto audit`` do what operators need for keys and audit logs."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from reducto.cli import main
from reducto.crypt.keyring import parse_kek
from reducto.trust.api_keys import ApiKeys, ApiScope
from reducto.trust.key_files import load_signer, load_trust
from reducto.trust.signatures import KeyState
from sidecar.middleware.audit_log import AuditFile, AuditLog


def run(capsys: pytest.CaptureFixture[str], *argv: object, expect: int = 0) -> dict:
    assert main([*map(str, argv), "--json"]) == expect
    out = capsys.readouterr()
    return json.loads(out.out if expect == 0 else out.err)


def test_a_signing_key_from_generation_to_revocation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, trusted = tmp_path / "signing.pem", tmp_path / "trusted"
    made = run(capsys, "keys", "generate", private, "--comment", "ci", "--trust-dir", trusted)
    assert load_signer(str(private)).key_id == made["key_id"]
    assert run(capsys, "keys", "generate", private, expect=2)["error"]["kind"] == "UsageError"
    shown = run(capsys, "keys", "show", private, trusted)["keys"]
    assert [(row["key_id"], row["state"]) for row in shown] == [(made["key_id"], "private"), (made["key_id"], "active")]
    rotated = run(capsys, "keys", "rotate", private, "--trust-dir", trusted)
    assert rotated["key_id"] == load_signer(str(private)).key_id != made["key_id"]
    states = {row["key_id"]: row["state"] for row in run(capsys, "keys", "show", trusted)["keys"]}
    assert states == {made["key_id"]: "retired", rotated["key_id"]: "active"}
    run(capsys, "keys", "revoke", made["public"])
    assert {key.key_id: key.state for key in load_trust([trusted])}[made["key_id"]] is KeyState.REVOKED


def test_a_key_encryption_key_is_generated_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kek"
    made = run(capsys, "keys", "generate", path, "--kind", "kek")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(parse_kek(path.read_bytes())) == 32
    (row,) = run(capsys, "keys", "show", path)["keys"]
    assert (row["key_id"], row["state"]) == (made["key_id"], "kek")


def test_show_without_arguments_shows_the_configured_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = run(capsys, "keys", "generate", tmp_path / "signing.pem")
    config = tmp_path / "sidecar.yaml"
    config.write_text(f"security: {{signing: {{key: {made['private']}, trusted_keys: [{made['public']}]}}}}")
    shown = run(capsys, "keys", "show", "--config", config)["keys"]
    assert [row["state"] for row in shown] == ["active", "signs"]


def test_api_keys_are_created_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "api-keys.json"
    create = ("keys", "api", "create", "--file", path, "--scope", "read", "--name")
    reader = run(capsys, *create, "grafana", "--expires-in", "90d")
    admin = run(capsys, *create, "ops", "--scope", "admin")
    text = path.read_text()
    assert reader["token"] not in text
    assert admin["token"].split("_", 2)[2] not in text
    found = ApiKeys.parse(text).find(admin["token"])
    assert found is not None
    assert found.scopes == {ApiScope.READ, ApiScope.ADMIN}
    listed = run(capsys, "keys", "api", "list", "--file", path)["keys"]
    assert [(row["name"], bool(row["expires"])) for row in listed] == [("grafana", True), ("ops", False)]
    assert "hash" not in listed[0]
    run(capsys, "keys", "api", "revoke", "--file", path, reader["id"])
    assert ApiKeys.parse(path.read_text()).find(reader["token"]) is None
    assert run(capsys, "keys", "api", "revoke", "--file", path, "nothing", expect=2)["error"]["kind"] == "UsageError"


def test_audit_verify_finds_a_changed_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = run(capsys, "keys", "generate", tmp_path / "signing.pem")
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditFile(path), signer=load_signer(made["private"]))
    for number in range(3):
        log.record({"action": "pull", "number": number})
    log.close()
    verify = ("audit", "verify", path, "--trusted-key", made["public"])
    report = run(capsys, *verify, "--max-age", "5m", "--from-start")
    assert (report["lines"], report["checkpoints"], report["unsigned_tail_lines"]) == (5, 2, 0)
    assert run(capsys, *verify, "--max-age", "0s", expect=4)["error"]["kind"] == "AuditBroken"
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":9'))
    assert "audit.jsonl:4" in run(capsys, *verify, expect=4)["error"]["message"]
    unsigned = tmp_path / "unsigned.jsonl"
    AuditLog(AuditFile(unsigned)).close()
    assert "no checkpoint" in run(capsys, "audit", "verify", unsigned, "--max-age", "5m", expect=4)["error"]["message"]
    assert run(capsys, "audit", "verify", tmp_path / "absent", expect=2)["error"]["kind"] == "UsageError"
