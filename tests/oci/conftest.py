"""Servers and a transport for the tests of one folder."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from reducto.oci.http import HttpOptions, HttpTransport
from reducto.oci.retry import RetryPolicy
from reducto.oci.transport import ThreadWorkers
from tests.oci.servers import Server, serving


class StartServer(Protocol):
    async def __call__(self, server: Server | None = None) -> Server: ...


class OpenTransport(Protocol):
    def __call__(self, url: str, **options: Any) -> HttpTransport: ...


@pytest.fixture
async def at_end() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start(at_end: AsyncExitStack) -> StartServer:
    """``await start()``: as many servers as a test wants."""

    async def start_one(server: Server | None = None) -> Server:
        return await at_end.enter_async_context(serving(server or Server()))

    return start_one


@pytest.fixture
def transport_to(at_end: AsyncExitStack) -> OpenTransport:
    """``transport_to(url)``: a transport with short pauses, closed at the test's end."""

    def open_one(url: str, **options: Any) -> HttpTransport:
        options.setdefault("retries", RetryPolicy(3, 0.01, longest_pause_seconds=5.0))
        transport = HttpTransport(HttpOptions(url=url, **options), ThreadWorkers())
        at_end.push_async_callback(transport.close)
        return transport

    return open_one


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 and its key."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture
def make_certificate(tmp_path: Path) -> Callable[[str], Certificate]:
    """``make_certificate("registry")``: a new certificate by that name."""

    def make(name: str) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=2))
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = Certificate(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        made.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made

    return make
