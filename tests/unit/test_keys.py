"""Signatures: domains, trust states, key files and their rotation."""

from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from reducto.errors import Untrusted, UsageError
from reducto.trust.key_files import (
    format_public_key,
    generate_key,
    load_signer,
    load_trust,
    parse_public_key,
    read_secret,
    rotate_key,
    write_private_file,
)
from reducto.trust.signatures import (
    KeyState,
    Purpose,
    Signer,
    TrustedKey,
    TrustStore,
    key_id_of,
    message,
    purpose_of,
)
from tests.support.requirements import require_tool

FIELDS = st.lists(st.binary(max_size=20), max_size=4)


def test_a_signature_of_a_trusted_key_verifies() -> None:
    signer = Signer.generate()
    signed = message(Purpose.CORPUS, b"root hash")
    key = TrustStore.of(signer).signed_by(signer.key_id, signed, signer.sign(signed))
    assert key.key_id == signer.key_id


def test_the_domain_bytes_are_forever() -> None:
    assert message(Purpose.CORPUS, b"ab", "c") == (b"reducto corpus v1\0" + bytes(7) + b"\x02ab" + bytes(7) + b"\x01c")
    assert [purpose.value for purpose in Purpose] == ["corpus", "record", "audit"]


@given(FIELDS, FIELDS)
def test_messages_are_one_to_one(one: list[bytes], other: list[bytes]) -> None:
    assert (message(Purpose.RECORD, *one) == message(Purpose.RECORD, *other)) == (one == other)


@pytest.mark.parametrize(
    "naked", [b"", b"hello", b"reducto corpus v1", b"reducto nothing v1\0x", b" reducto corpus v1\0"]
)
def test_nothing_without_a_domain_is_signed(naked: bytes) -> None:
    with pytest.raises(UsageError, match="no known signing domain"):
        Signer.generate().sign(naked)


def test_a_domain_may_say_more() -> None:
    assert purpose_of(b"reducto corpus v1 root signature\0") is Purpose.CORPUS


def test_a_signature_does_not_pass_for_another_purpose() -> None:
    signer = Signer.generate()
    trust = TrustStore.of(signer)
    signature = signer.sign(message(Purpose.CORPUS, b"x"))
    with pytest.raises(Untrusted, match="wrong"):
        trust.verify(signer.key_id, message(Purpose.RECORD, b"x"), signature)


@given(st.data())
def test_any_changed_bit_is_refused(data: st.DataObject) -> None:
    signer = SIGNER
    signed = message(Purpose.RECORD, b"some content")
    signature = signer.sign(signed)
    whole = bytearray(signed + signature)
    bit = data.draw(st.integers(len(b"reducto record v1\0") * 8, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Untrusted):
        TrustStore.of(signer).verify(signer.key_id, bytes(whole[: len(signed)]), bytes(whole[len(signed) :]))


SIGNER = Signer.generate()


@pytest.mark.parametrize(
    ("key_id", "signature", "words"),
    [
        (SIGNER.key_id, b"", "not signed"),
        ("", b"x" * 64, "not trusted"),
        (Signer.generate().key_id, b"x" * 64, "not trusted"),
        (SIGNER.key_id, b"x" * 63, "wrong"),
        (SIGNER.key_id, b"x" * 64, "wrong"),
    ],
    ids=["none", "without a key", "of a stranger", "too short", "of other bytes"],
)
def test_missing_and_wrong_signatures_say_why(key_id: str, signature: bytes, words: str) -> None:
    with pytest.raises(Untrusted, match=words):
        TrustStore.of(SIGNER).verify(key_id, message(Purpose.RECORD), signature)


def test_states_purposes_and_ends() -> None:
    signed, now = message(Purpose.RECORD, b"x"), datetime(2026, 11, 22, tzinfo=UTC)
    signature = SIGNER.sign(signed)

    def verify(**kwargs: object) -> TrustedKey:
        trust = TrustStore([TrustedKey(SIGNER.public, **kwargs)])  # type: ignore[arg-type]
        return trust.signed_by(SIGNER.key_id, signed, signature, now)

    assert verify(state=KeyState.RETIRED).state is KeyState.RETIRED
    assert verify(not_after=now)
    with pytest.raises(Untrusted, match="revoked"):
        verify(state=KeyState.REVOKED)
    with pytest.raises(Untrusted, match="only until 2026-11-21"):
        verify(not_after=now - timedelta(days=1))
    with pytest.raises(Untrusted, match="not trusted for record"):
        verify(purposes=frozenset({Purpose.CORPUS}))


def test_a_revocation_wins_in_either_order() -> None:
    good, bad = TrustedKey(SIGNER.public), TrustedKey(SIGNER.public, KeyState.REVOKED)
    for keys in ([good, bad], [bad, good]):
        (key,) = TrustStore(keys)
        assert key.state is KeyState.REVOKED


def test_public_files_keep_everything(tmp_path) -> None:
    key = TrustedKey(
        SIGNER.public,
        KeyState.RETIRED,
        frozenset({Purpose.CORPUS}),
        datetime(2027, 1, 2, tzinfo=UTC),
        "file.pem",
    )
    assert parse_public_key(format_public_key(key, "nightly\nbuilder"), "file.pem") == key
    plain = TrustedKey(SIGNER.public)
    assert parse_public_key(format_public_key(plain)) == plain


@pytest.mark.parametrize("line", ["State: revoced", "Sate: revoked", "Purposes: everything", "Not-After: soon", "oops"])
def test_a_misspelt_restriction_is_refused(line: str) -> None:
    with pytest.raises(UsageError):
        parse_public_key(
            line + "\n" + format_public_key(TrustedKey(SIGNER.public)).partition("\n")[2].partition("\n")[2]
        )


def test_generate_load_and_sign(tmp_path) -> None:
    files = generate_key(tmp_path / "signing.pem", "ci builder")
    assert stat.S_IMODE(files.private.stat().st_mode) == 0o600
    signer = load_signer(str(files.private))
    assert signer.key_id == files.signer.key_id
    signed = message(Purpose.CORPUS, b"x")
    for trust in (load_trust([files.public]), load_trust([tmp_path]), load_trust([files.public.read_text()])):
        trust.verify(signer.key_id, signed, signer.sign(signed))
    with pytest.raises(UsageError, match="never overwritten"):
        generate_key(tmp_path / "signing.pem")
    assert load_signer(str(files.private)).key_id == signer.key_id
    assert not list(tmp_path.glob("*.tmp"))


def test_rotation_keeps_what_was_signed_good(tmp_path) -> None:
    private, trusted = tmp_path / "signing.pem", tmp_path / "trusted"
    old = generate_key(private, trust_dir=trusted).signer
    signed = message(Purpose.CORPUS, b"x")
    signature = old.sign(signed)
    files, aside = rotate_key(private, trust_dir=trusted)
    new = load_signer(str(private))
    assert new.key_id == files.signer.key_id != old.key_id
    assert load_signer(str(aside)).key_id == old.key_id
    trust = load_trust([trusted])
    assert trust.signed_by(old.key_id, signed, signature).state is KeyState.RETIRED
    assert trust.signed_by(new.key_id, signed, new.sign(signed)).state is KeyState.ACTIVE


def test_rotation_does_not_revive_a_revoked_key(tmp_path) -> None:
    private = tmp_path / "signing.pem"
    files = generate_key(private)
    files.public.write_text(files.public.read_text().replace("State: active", "State: revoked"))
    rotate_key(private)
    states = {key.key_id: key.state for key in load_trust([tmp_path])}
    assert states[files.signer.key_id] is KeyState.REVOKED


@pytest.mark.integration
def test_openssl_reads_ours_and_writes_ours(tmp_path) -> None:
    require_tool("openssl")
    files = generate_key(tmp_path / "ours.pem", "with a preamble")
    seen = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", files.public, "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert seen.stdout[-32:] == files.signer.public.public_bytes_raw()
    theirs = tmp_path / "theirs.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", theirs], check=True)
    theirs.chmod(0o600)
    public = subprocess.run(["openssl", "pkey", "-in", theirs, "-pubout"], capture_output=True, check=True).stdout
    assert load_signer(str(theirs)).key_id == parse_public_key(public.decode()).key_id


def test_a_secret_must_be_private_present_and_small(tmp_path, monkeypatch) -> None:
    path = tmp_path / "key"
    with pytest.raises(UsageError, match="cannot be read"):
        read_secret(str(path))
    path.write_bytes(b"secret")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 0600"):
        read_secret(str(path))
    path.chmod(0o440)
    assert read_secret(str(path)) == read_secret(f"file:{path}") == b"secret"
    path.chmod(0o600)
    path.write_bytes(b"x" * (64 * 1024 + 1))
    with pytest.raises(UsageError, match="65536"):
        read_secret(str(path))
    monkeypatch.setenv("SOME_KEY", "from the environment")
    assert read_secret("env:SOME_KEY") == b"from the environment"
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(UsageError, match="SOME_KEY is not set"):
        read_secret("env:SOME_KEY")


def test_keys_of_other_kinds_are_refused(tmp_path) -> None:
    other = generate_private_key(SECP256R1())
    write_private_file(tmp_path / "ec.pem", other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UsageError, match="Ed25519 key is needed"):
        load_signer(str(tmp_path / "ec.pem"))
    write_private_file(tmp_path / "junk.pem", b"junk")
    with pytest.raises(UsageError, match="PEM private key"):
        load_signer(str(tmp_path / "junk.pem"))
    with pytest.raises(UsageError, match="PEM public key"):
        load_trust([tmp_path / "junk.pem"])


def test_a_signer_never_shows_its_key() -> None:
    secret = SIGNER.private_key().private_bytes_raw()
    assert secret.hex() not in repr(SIGNER)
    assert repr(SIGNER) == f"Signer({key_id_of(SIGNER.public)})"
    assert purpose_of(message(Purpose.AUDIT)) is Purpose.AUDIT
