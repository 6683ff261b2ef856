"""Signed records: no byte can change, and a record can be copied only if the operator allows it."""

from __future__ import annotations

import json

import pytest

from reducto.errors import NotReducto, Untrusted
from reducto.trust.signatures import Purpose, Signer, TrustedKey, TrustStore
from reducto.trust.signed_records import KEY, REPOSITORY, SIGNATURE, Bind, is_signed, sign, verify

SIGNER, STRANGER = Signer.generate(), Signer.generate()
TRUST = TrustStore.of(SIGNER)
RECORD = json.dumps(
    {
        "annotations": {"io.reducto.version": "1"},
        "artifactType": "application/vnd.reducto.layer.v1",
        "layers": [
            {"digest": "sha256:" + "a" * 64, "annotations": {"io.reducto.layer.digest": "sha256:" + "b" * 64}},
            {"digest": "sha256:" + "c" * 64, "annotations": {"io.reducto.corpus.id": "d" * 64}},
        ],
        "schemaVersion": 2,
    },
    separators=(",", ":"),
    sort_keys=True,
).encode()
SIGNED = sign(RECORD, "team/app", SIGNER)


def test_a_signed_record_verifies_and_is_deterministic() -> None:
    signed = verify(SIGNED, "team/app", TRUST)
    assert (signed.key_id, signed.repository) == (SIGNER.key_id, "team/app")
    assert sign(RECORD, "team/app", SIGNER) == SIGNED == sign(SIGNED, "team/app", SIGNER)
    assert is_signed(SIGNED)
    assert not is_signed(RECORD)


def test_no_bit_can_change() -> None:
    for bit in range(len(SIGNED) * 8):
        forged = bytearray(SIGNED)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Untrusted, NotReducto)):
            verify(bytes(forged), "team/app", TRUST)


@pytest.mark.parametrize(
    "form",
    [
        lambda doc: json.dumps(doc).encode(),
        lambda doc: json.dumps(doc, separators=(",", ":"), sort_keys=True).encode() + b"\n",
        lambda doc: SIGNED.replace(b'"schemaVersion":2', b'"schemaVersion":1,"schemaVersion":2'),
        lambda doc: SIGNED.replace(b"team", b"t\\u0065am"),
    ],
)
def test_the_same_content_in_another_form_is_refused(form) -> None:
    other = form(json.loads(SIGNED))
    assert json.loads(other) == json.loads(SIGNED)
    with pytest.raises(Untrusted, match="form in which it was signed"):
        verify(other, "team/app", TRUST)


def test_a_record_cannot_move_to_another_repository() -> None:
    with pytest.raises(Untrusted, match="was made for team/app"):
        verify(SIGNED, "team/other", TRUST)
    renamed = SIGNED.replace(b"team/app", b"team/new")
    with pytest.raises(Untrusted, match="wrong"):
        verify(renamed, "team/new", TRUST)


def test_an_operator_may_allow_copies() -> None:
    assert verify(SIGNED, "mirror/app", TRUST, Bind.DIGEST).repository == "team/app"
    assert verify(SIGNED, "prod/app", TRUST, trusted_origins=["staging/*", "team/*"])
    with pytest.raises(Untrusted, match="was made for"):
        verify(SIGNED, "prod/app", TRUST, trusted_origins=["staging/*"])


def test_allowing_copies_allows_no_change() -> None:
    for find, put in ((b"a" * 64, b"e" * 64), (b"b" * 64, b"e" * 64), (b"d" * 64, b"e" * 64)):
        forged = SIGNED.replace(find, put)
        assert forged != SIGNED
        with pytest.raises(Untrusted):
            verify(forged, "anywhere", TRUST, Bind.DIGEST)


def test_strangers_and_missing_signatures_are_refused() -> None:
    with pytest.raises(Untrusted, match="not signed"):
        verify(RECORD, "team/app", TRUST)
    with pytest.raises(Untrusted, match="not trusted"):
        verify(sign(RECORD, "team/app", STRANGER), "team/app", TRUST)
    only_corpora = TrustStore([TrustedKey(SIGNER.public, purposes=frozenset({Purpose.CORPUS}))])
    with pytest.raises(Untrusted, match="not trusted for record"):
        verify(SIGNED, "team/app", only_corpora)


@pytest.mark.parametrize("note", [KEY, REPOSITORY, SIGNATURE])
@pytest.mark.parametrize("value", [None, 7, "", "x"])
def test_broken_annotations_are_refused(note: str, value: object) -> None:
    document = json.loads(SIGNED)
    document["annotations"][note] = value
    with pytest.raises(Untrusted):
        verify(json.dumps(document, separators=(",", ":"), sort_keys=True).encode(), "team/app", TRUST)


@pytest.mark.parametrize("junk", [b"", b"[]", b"null", b'{"annotations":[]}', b"\xff", b"[" * 100_000])
def test_other_manifests_are_not_records(junk: bytes) -> None:
    with pytest.raises(NotReducto):
        verify(junk, "team/app", TRUST)
