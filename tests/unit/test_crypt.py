"""Encryption at rest: the segment format, its keys, and every way to tamper with them."""

from __future__ import annotations

import base64
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reducto.crypt import (
    BlobKey,
    Content,
    Envelope,
    Keyring,
    StreamDecryptor,
    StreamEncryptor,
    encrypted_length,
    generate_kek,
    stream,
)
from reducto.crypt.keyring import parse_kek
from reducto.crypt.stream import HEADER_LENGTH, TAG_LENGTH
from reducto.errors import Corrupt, KeyUnavailable, LimitExceeded, NotReducto, ReductoError, UsageError
from reducto.values import ByteRange

BITS = 12
SEGMENT = 1 << BITS
KEYRING = Keyring([b"k" * 32])
SUBJECT = "sha256:" + "ab" * 32

#: Plain lengths on and around every kind of segment boundary.
LENGTHS = st.one_of(
    st.sampled_from([0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 2 * SEGMENT + 1, 5 * SEGMENT - 1]),
    st.integers(0, 4 * SEGMENT),
)


def seal(plain: bytes, keyring: Keyring = KEYRING, repository: str = "app") -> tuple[bytes, Envelope]:
    blob_key, envelope = keyring.new_blob_key(repository)
    sealer = StreamEncryptor(blob_key, Content.CORPUS, SUBJECT, BITS)
    return sealer.update(plain) + sealer.finish(), envelope


def opener(envelope: Envelope, content: Content = Content.CORPUS, subject: str = SUBJECT) -> StreamDecryptor:
    return StreamDecryptor(KEYRING.open(envelope), content, subject)


def unseal(sealed: bytes, envelope: Envelope, step: int = 10_000) -> bytes:
    opened = opener(envelope)
    pieces = [opened.update(sealed[at : at + step]) for at in range(0, len(sealed), step)]
    return b"".join(pieces) + opened.finish()


@given(LENGTHS, st.integers(1, 3 * SEGMENT), st.integers(1, 3 * SEGMENT))
def test_what_was_sealed_opens_in_any_pieces(length: int, in_step: int, out_step: int) -> None:
    plain = secrets.token_bytes(length)
    blob_key, envelope = KEYRING.new_blob_key("app")
    sealer = StreamEncryptor(blob_key, Content.CORPUS, SUBJECT, BITS)
    pieces = [sealer.update(b"")] + [sealer.update(plain[at : at + in_step]) for at in range(0, length, in_step)]
    sealed = b"".join(pieces) + sealer.finish()
    assert len(sealed) == encrypted_length(length, BITS)
    assert unseal(sealed, envelope, out_step) == plain


@given(LENGTHS, st.data())
def test_any_range_opens_alone(length: int, data: st.DataObject) -> None:
    plain = secrets.token_bytes(length)
    sealed, envelope = seal(plain)
    start = data.draw(st.integers(0, length))
    wanted = ByteRange(start, data.draw(st.integers(start, length)))
    reader = opener(envelope)
    assert reader.read_header(sealed[:HEADER_LENGTH]) == SEGMENT
    at = reader.encrypted_range(wanted, len(sealed))
    assert len(at) <= len(wanted) + 2 * (SEGMENT + TAG_LENGTH)
    assert reader.open_range(wanted, sealed[at.start : at.stop], len(sealed)) == plain[wanted.start : wanted.stop]


@settings(max_examples=300)
@given(LENGTHS, st.data())
def test_any_changed_bit_is_detected(length: int, data: st.DataObject) -> None:
    sealed, envelope = seal(secrets.token_bytes(length))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    forged = bytearray(sealed)
    forged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Corrupt, NotReducto, KeyUnavailable)):
        unseal(bytes(forged), envelope)


@given(LENGTHS, st.data())
def test_any_truncation_or_extension_is_detected(length: int, data: st.DataObject) -> None:
    sealed, envelope = seal(secrets.token_bytes(length))
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for forged in (cut, sealed + b"\0", sealed + sealed[HEADER_LENGTH:], sealed + secrets.token_bytes(TAG_LENGTH)):
        with pytest.raises(Corrupt):
            unseal(forged, envelope)


def test_cutting_at_every_segment_boundary_is_detected() -> None:
    sealed, envelope = seal(secrets.token_bytes(3 * SEGMENT))
    for segments in range(3):
        with pytest.raises(Corrupt):
            unseal(sealed[: HEADER_LENGTH + segments * (SEGMENT + TAG_LENGTH)], envelope)


def segments_of(sealed: bytes) -> tuple[bytes, list[bytes]]:
    whole = SEGMENT + TAG_LENGTH
    return sealed[:HEADER_LENGTH], [sealed[at : at + whole] for at in range(HEADER_LENGTH, len(sealed), whole)]


@pytest.mark.parametrize(
    "order", [(1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 1, 3), (0, 3), (0, 1, 3), (3, 1, 2, 0), (1, 2, 3)]
)
def test_segments_cannot_be_reordered_dropped_or_repeated(order: tuple[int, ...]) -> None:
    header, parts = segments_of((made := seal(secrets.token_bytes(4 * SEGMENT)))[0])
    with pytest.raises(Corrupt):
        unseal(header + b"".join(parts[index] for index in order), made[1])


def test_segments_cannot_be_spliced_from_another_blob_of_the_same_subject() -> None:
    plain = secrets.token_bytes(3 * SEGMENT)
    (one, envelope), (other, _) = seal(plain), seal(plain)
    header, parts = segments_of(one)
    parts[1] = segments_of(other)[1][1]
    with pytest.raises(Corrupt):
        unseal(header + b"".join(parts), envelope)


def test_a_blob_cannot_stand_in_for_another() -> None:
    sealed, envelope = seal(b"corpus bytes")
    for wrong in (opener(envelope, Content.INSTRUCTIONS), opener(envelope, subject="sha256:" + "cd" * 32)):
        wrong.update(sealed)
        with pytest.raises(Corrupt, match="damaged or forged"):
            wrong.finish()
    with pytest.raises(KeyUnavailable):
        unseal(seal(b"another blob")[0], envelope)


def test_a_sealer_encrypts_one_blob() -> None:
    sealer = StreamEncryptor(BlobKey.generate(), Content.CORPUS, SUBJECT, BITS)
    sealer.finish()
    with pytest.raises(UsageError, match="one blob"):
        sealer.finish()
    with pytest.raises(UsageError, match="one blob"):
        sealer.update(bytes(2 * SEGMENT))


def test_no_nonce_repeats_under_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[bytes, bytes]] = set()
    original = stream.AESGCM

    class Recorder:
        def __init__(self, key: bytes) -> None:
            self.key, self.inner = key, original(key)

        def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
            assert (self.key, nonce) not in seen
            seen.add((self.key, nonce))
            return self.inner.encrypt(nonce, data, associated_data)

    monkeypatch.setattr(stream, "AESGCM", Recorder)
    for length in (0, 1, SEGMENT, SEGMENT + 1, 9 * SEGMENT) * 20:
        seal(bytes(length))
    assert len(seen) == 20 * (1 + 1 + 1 + 2 + 9)


def test_the_segment_limit_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SEGMENT_LIMIT", 2)
    assert seal(bytes(2 * SEGMENT))
    with pytest.raises(LimitExceeded, match="at most 2 segments"):
        seal(bytes(2 * SEGMENT + 1))


@pytest.mark.parametrize(
    "header",
    [b"", b"short", b"RDSEAL2\n" + bytes(24), b"RDSEAL1\n" + bytes([BITS]) + b"\1" * 23, b"RDSEAL1\n\x40" + bytes(23)],
)
def test_other_formats_are_named(header: bytes) -> None:
    with pytest.raises(NotReducto):
        opener(seal(b"")[1]).read_header(header)


@pytest.mark.parametrize("bits", [11, 25])
def test_segment_bits_have_bounds(bits: int) -> None:
    with pytest.raises(UsageError):
        StreamEncryptor(BlobKey.generate(), Content.CORPUS, SUBJECT, bits)


def test_ranges_are_checked_against_the_length() -> None:
    sealed, envelope = seal(bytes(100))
    reader = opener(envelope)
    reader.read_header(sealed[:HEADER_LENGTH])
    with pytest.raises(UsageError, match="100 plain bytes"):
        reader.encrypted_range(ByteRange(0, 101), len(sealed))
    with pytest.raises(Corrupt, match="expected"):
        reader.open_range(ByteRange(0, 10), sealed[HEADER_LENGTH:-1], len(sealed))
    with pytest.raises(Corrupt, match="no encrypted blob"):
        reader.encrypted_range(ByteRange(0, 0), HEADER_LENGTH + 3)


# -- keys


def test_keys_rotate_without_touching_data() -> None:
    old, new, only_new = Keyring([b"a" * 32]), Keyring([b"b" * 32, b"a" * 32]), Keyring([b"b" * 32])
    sealed, envelope = seal(b"plain", old)
    assert new.is_current(envelope, "app") is False
    rewrapped = new.rewrap(envelope, "app")
    assert rewrapped != envelope
    assert new.rewrap(rewrapped, "app") == rewrapped == new.rewrap(envelope, "app")
    reader = StreamDecryptor(only_new.open(Envelope.parse(str(rewrapped))), Content.CORPUS, SUBJECT)
    assert reader.update(sealed) + reader.finish() == b"plain"
    with pytest.raises(KeyUnavailable, match=r"was not given; given are [0-9a-f]{32}"):
        only_new.open(envelope)


def test_destroying_a_repositorys_key_shreds_it_and_nothing_else() -> None:
    default, tenant = b"d" * 32, b"t" * 32
    keyring = Keyring([default], [("tenants/acme/*", tenant)])
    acme, envelope = seal(b"acme's", keyring, repository="tenants/acme/app")
    _, other_envelope = seal(b"other's", keyring, repository="tenants/other/app")
    mounted = keyring.rewrap(envelope, "tenants/other/app")
    after = Keyring([default])
    assert after.open(other_envelope)
    with pytest.raises(KeyUnavailable):
        after.open(envelope)
    # A blob that was mounted while both keys were there is wrapped by the other key, too, and stays readable by it.
    reader = StreamDecryptor(after.open(mounted), Content.CORPUS, SUBJECT)
    assert reader.update(acme) + reader.finish() == b"acme's"


def test_keyrings_are_read_from_sources() -> None:
    secrets_at = {"file:a": b"aa" * 32, "env:B": base64.b64encode(b"b" * 32)}
    keyring = Keyring.load(["file:a"], ["team/*=env:B"], secrets_at.__getitem__)
    assert keyring.key_ids == Keyring([b"\xaa" * 32], [("x", b"b" * 32)]).key_ids
    assert keyring.new_blob_key("team/x")[1].kek_id.hex() == keyring.key_ids[1]
    for wrong in ("team/*", "=env:B", "team/*="):
        with pytest.raises(UsageError, match="PATTERN=SOURCE"):
            Keyring.load(["file:a"], [wrong], secrets_at.__getitem__)


@given(st.data())
def test_any_changed_bit_of_a_wrapped_key_is_detected(data: st.DataObject) -> None:
    text = str(seal(b"")[1])
    raw = bytearray(base64.urlsafe_b64decode(text[3:]))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Corrupt, KeyUnavailable)):
        KEYRING.open(Envelope.parse("v1." + base64.urlsafe_b64encode(raw).decode()))


@pytest.mark.parametrize("text", ["", "v1.", "v2." + "A" * 96, "v1." + "A" * 95, "v1." + "A" * 97, "v1." + "=" * 96])
def test_other_envelopes_are_named(text: str) -> None:
    with pytest.raises(NotReducto):
        Envelope.parse(text)


def test_key_encryption_keys_are_base64_or_hex() -> None:
    text = generate_kek()
    raw = base64.b64decode(text)
    assert parse_kek(text.encode() + b"\n") == parse_kek(raw.hex().encode()) == raw
    for wrong in (b"", b"correct horse battery staple 32!", raw, text[:-4].encode(), b"secret" * 9):
        with pytest.raises(UsageError, match="not 32 bytes") as caught:
            parse_kek(wrong, "kek.txt")
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError):
        Keyring([])
    with pytest.raises(UsageError):
        Keyring([b"short"])


def test_secrets_are_not_shown() -> None:
    blob_key, envelope = KEYRING.new_blob_key("app")
    for shown in (repr(KEYRING), repr(blob_key), repr(envelope)):
        assert "secret" not in shown
        assert "wrapped" not in shown
    assert issubclass(KeyUnavailable, ReductoError)
