"""Rates, paths, addresses, API keys, TLS and the audit log in a running sidecar."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from reducto.trust import audit_chain
from reducto.trust.api_keys import ApiKey, ApiKeys, ApiScope
from reducto.trust.key_files import generate_key, load_trust
from sidecar.middleware.api_key_check import scope_needed
from sidecar.middleware.audit_events import outcome_of, principal
from sidecar.middleware.client_address import ClientAddresses, group_of
from sidecar.middleware.rate_limits import CLIENT_LIMIT, RateLimiter, path_complaint
from tests.support.faulty_proxy import FaultyProxy
from tests.trust.sidecars import config_of, layer_of, sidecar, words

# -- rates


def test_a_bucket_lets_bursts_through_and_then_the_rate() -> None:
    now = [0.0]
    limiter = RateLimiter(2.0, 3, lambda: now[0])
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a") == pytest.approx(0.5)
    assert limiter.take("b") == 0, "others are not affected"
    now[0] += 0.5
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    now[0] += 3600
    assert [limiter.take("a") for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)], "what was not used does not pile up"


def test_the_limiter_remembers_a_bounded_number_of_clients() -> None:
    limiter = RateLimiter(1.0, 1)
    for number in range(CLIENT_LIMIT + 1000):
        limiter.take(str(number))
    assert len(limiter) == CLIENT_LIMIT


async def test_too_many_requests_get_429_and_retry_after(tmp_path: Path) -> None:
    config = config_of(tmp_path, tmp_path / "store", limits={"requests_per_second": 1, "burst": 5})
    async with sidecar(config) as client:
        answers = []
        for _ in range(8):
            async with client.session.get(f"{client.base}/v2/") as answer:
                answers.append((answer.status, answer.headers.get("Retry-After"), await answer.text()))
    assert [status for status, _, _ in answers] == [200] * 5 + [429] * 3
    _, retry_after, body = answers[-1]
    assert retry_after == "1"
    assert json.loads(body)["errors"][0]["code"] == "TOOMANYREQUESTS"


# -- addresses


def test_only_trusted_proxies_say_who_the_client_is() -> None:
    clients = ClientAddresses(["10.0.0.0/8", "fd00::/8"])
    assert clients.of("203.0.113.9", "1.1.1.1") == "203.0.113.9"
    assert clients.of("10.0.0.1", "1.1.1.1") == "1.1.1.1"
    assert clients.of("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.9.9.9") == "1.1.1.1", "the first claim is the client's own"
    assert clients.of("10.0.0.1", "nonsense") == "10.0.0.1"
    assert clients.of("::ffff:10.0.0.1", "1.1.1.1") == "1.1.1.1"
    assert clients.of("fd00::1", "2001:db8::5") == "2001:db8::5"
    assert clients.of(None, "1.1.1.1") == "unknown"
    assert group_of("2001:db8::5") == group_of("2001:db8::6:7") != group_of("2001:db8:0:1::5")


# -- paths


AMBIGUOUS = ["/v2/../admin", "/v2/%2e%2e/admin", "/v2/%252e%252e/x", "/v2/a%2fb/tags/list", "/v2/a\\b", "/v2/a%00b"]


@pytest.mark.parametrize("path", [*AMBIGUOUS, "/v2/a%0d%0ab", "/v2/./a", "/v2/a/..", "/v2/" + "a" * 5000])
async def test_paths_with_two_meanings_are_refused(tmp_path: Path, path: str) -> None:
    assert path_complaint(path)
    async with sidecar(config_of(tmp_path, tmp_path / "store")) as client:
        status = await raw_status(client.running.data_port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status == 400


@pytest.mark.parametrize("path", ["/v2/", "/v2/a/b.c/d_e-f/manifests/sha256:" + "0" * 64, "/v2/a/tags/list", "/token"])
def test_honest_paths_pass(path: str) -> None:
    assert path_complaint(path) == ""


async def raw_status(port: int, request: bytes) -> int:
    """The status of the answer to these bytes; 0 when the connection is closed without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        line = await asyncio.wait_for(reader.readline(), 20)
    except ConnectionError:
        line = b""
    writer.close()
    return int(line.split()[1]) if line else 0


# -- the control port


def test_what_is_not_open_needs_a_scope() -> None:
    assert scope_needed("GET", "/metrics") is None
    assert scope_needed("HEAD", "/health/ready") is None
    assert scope_needed("POST", "/metrics") is ApiScope.WRITE
    assert scope_needed("GET", "/api/v1/status") is ApiScope.READ
    assert scope_needed("GET", "/health/../api") is ApiScope.READ
    assert scope_needed("GET", "/api/v1/admin/gc") is ApiScope.ADMIN


async def test_the_control_port_asks_for_a_key(tmp_path: Path) -> None:
    path = tmp_path / "api-keys.json"
    reader, token = ApiKey.create("grafana", [ApiScope.READ])
    path.write_text(ApiKeys([reader]).to_text())
    config = config_of(tmp_path, tmp_path / "store", {"access": {"api_keys_file": str(path)}})
    async with sidecar(config) as client:
        base = f"http://127.0.0.1:{client.running.control_port}"

        async def ask(method: str, where: str, bearer: str = "") -> int:
            headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
            async with client.session.request(method, base + where, headers=headers) as answer:
                if answer.status == 401:
                    assert "Bearer" in answer.headers["WWW-Authenticate"]
                return answer.status

        assert await ask("GET", "/metrics") == await ask("GET", "/health/live") == 200
        assert await ask("GET", "/api/v1/status") == 401
        assert await ask("GET", "/api/v1/status", token[:-1] + ("B" if token.endswith("A") else "A")) == 401
        assert await ask("GET", "/api/v1/status", token) == 404, "let in; there is nothing here yet"
        assert await ask("POST", "/api/v1/status", token) == 403
        assert await ask("GET", "/api/v1/admin/gc", token) == 403
        path.write_text(ApiKeys().to_text())
        for _ in range(100):
            if await ask("GET", "/api/v1/status", token) in (401, 429):
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("a revoked key is still accepted")
        assert {await ask("GET", "/x", "rdk_wrong") for _ in range(40)} == {401, 429}, "guessing is slowed down"


async def test_without_a_file_nobody_has_a_key(tmp_path: Path) -> None:
    async with sidecar(config_of(tmp_path, tmp_path / "store")) as client:
        url = f"http://127.0.0.1:{client.running.control_port}/api/v1/status"
        async with client.session.get(url) as answer:
            assert answer.status == 401


# -- TLS


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    crt, key = folder / "tls.crt", folder / "tls.key"
    private, now = generate_private_key(SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
    crt.write_bytes(builder.sign(private, SHA256()).public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return crt, key


async def test_certificates_are_reloaded_while_connections_stay(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path / "tls", "first")
    listen = {"tls": {"certificate_file": str(crt), "key_file": str(key)}}
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def names(port: int) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return next(name for name in ("first", "second") if name.encode() in der)

    async with sidecar(config_of(tmp_path, tmp_path / "store", listen=listen)) as client:
        running, tls = client.running, client.running.middleware.tls
        assert tls is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", running.data_port, ssl=context)
        assert await names(running.data_port) == await names(running.control_port) == "first"
        new_crt, new_key = certificate(tmp_path / "new", "second")
        crt.write_bytes(new_crt.read_bytes())
        changed, problem = tls.reload_if_changed()
        assert changed, problem
        assert "cannot be used" in problem, "certificate and key do not belong together yet"
        assert await names(running.data_port) == "first"
        key.write_bytes(new_key.read_bytes())
        assert tls.reload_if_changed() == (True, "")
        assert tls.reload_if_changed() == (False, "")
        assert await names(running.data_port) == await names(running.control_port) == "second"
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200"), "an open connection goes on"
        writer.close()
        assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


# -- audit

BASIC = base64.b64encode(b"ci:hunter2").decode()


async def test_the_audit_log_says_who_did_what(tmp_path: Path) -> None:
    files = generate_key(tmp_path / "signing.pem")
    path = tmp_path / "audit.jsonl"
    security = {"signing": {"key": str(files.private)}, "audit": {"file": str(path)}}
    layer = layer_of({"a": words(1, 50_000)})
    async with sidecar(config_of(tmp_path, tmp_path / "store", security)) as client:
        client.session.headers.update({"Authorization": "Basic " + BASIC, "X-Request-Id": "r-1"})
        digest, _ = await client.push_image("team/app", "v1", layer)
        await client.get("/v2/team/app/manifests/v1?token=hunter2")
        await client.get("/v2/team/app/blobs/sha256:" + "0" * 64)
    text = path.read_text()
    assert "hunter2" not in text
    assert BASIC not in text
    report = audit_chain.verify([("log", path.read_bytes().splitlines(keepends=True))], load_trust([files.public]))
    assert report.unsigned_tail == 0
    events: list[dict[str, Any]] = [e["event"] for e in map(json.loads, text.splitlines()) if e["kind"] == "event"]
    assert [event["action"] for event in events if event["action"] != "begin-upload"] == [
        "push-blob", "push-blob", "push-manifest", "pull-manifest", "pull-blob",
    ]  # fmt: skip
    pushed, pulled, missing = events[-3:]
    assert pushed["repository"] == "team/app"
    assert (pushed["reference"], pushed["digest"], pushed["outcome"]) == ("v1", digest, "ok")
    assert (pulled["digest"], pulled["status"], pulled["who"]) == (digest, 200, {"scheme": "basic", "user": "ci"})
    assert (missing["outcome"], missing["client"], missing["request_id"]) == ("refused", "127.0.0.1", "r-1")


async def test_request_ids_go_on_to_the_upstream(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None]] = []

    def note(request: web.Request) -> None:
        seen.append((request.method, request.headers.get("X-Request-Id")))

    layer = layer_of({"a": words(1, 50_000)})
    async with (
        sidecar(config_of(tmp_path / "registry", tmp_path / "store")) as registry,
        FaultyProxy(registry.base) as proxy,
    ):
        proxy.how = note
        async with sidecar(config_of(tmp_path / "sidecar", proxy.url)) as client:
            client.session.headers["X-Request-Id"] = "build-7/push"
            await client.push_image("team/app", "v1", layer)
            pushed = {name for method, name in seen if method in ("POST", "PUT", "PATCH")}
            assert pushed == {"build-7/push"}
            seen.clear()
            async with client.session.get(f"{client.base}/v2/team/app/manifests/v1") as answer:
                assert answer.headers["X-Request-Id"] == "build-7/push"
            assert ("GET", "build-7/push") in seen


def claims(document: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{part}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("header", "who"),
    [
        ("", {}),
        ("Basic " + base64.b64encode(b"ci:secret").decode(), {"scheme": "basic", "user": "ci"}),
        ("Basic " + base64.b64encode(b"ghp_abcdefgh:x").decode(), {"scheme": "basic", "user": "(withheld)"}),
        ("Basic " + base64.b64encode(b"two words:x").decode(), {"scheme": "basic", "user": "(withheld)"}),
        ("Basic !!!", {"scheme": "basic", "user": ""}),
        ("Bearer " + claims({"sub": "robot$ci"}), {"scheme": "bearer", "claimed_subject": "(withheld)"}),
        ("Bearer " + claims({"sub": "robot"}), {"scheme": "bearer", "claimed_subject": "robot"}),
        ("Bearer " + claims({"sub": 7}), {"scheme": "bearer", "claimed_subject": ""}),
        ("Bearer " + claims([1]), {"scheme": "bearer", "claimed_subject": ""}),
        ("Bearer opaque-secret", {"scheme": "bearer", "claimed_subject": ""}),
        ("Negotiate secret", {"scheme": "other"}),
    ],
)
def test_principals_never_hold_credentials(header: str, who: dict[str, str]) -> None:
    from multidict import CIMultiDict, CIMultiDictProxy

    assert principal(CIMultiDictProxy(CIMultiDict({"Authorization": header} if header else {}))) == who


def test_outcomes() -> None:
    assert [outcome_of(s) for s in (0, 200, 307, 401, 403, 404, 429, 499, 500)] == [
        "broken", "ok", "ok", "denied", "denied", "refused", "refused", "broken", "failed",
    ]  # fmt: skip
