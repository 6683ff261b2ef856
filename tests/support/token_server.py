"""A token server for the Docker registry token flow, whose signed tokens state a user's rights per repository.

The registry enforces the rights. The server only answers which of the requested rights a user has.
"""

import base64
import fnmatch
import json
import threading
import time
import urllib.parse
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

#: User -> repository pattern (shell wildcards) -> actions. The user "" stands for requests without credentials.
Grants = Mapping[str, Mapping[str, frozenset[str]]]

PULL = frozenset({"pull"})
PUSH = frozenset({"pull", "push"})
ALL = frozenset({"pull", "push", "delete"})


class TokenServer:
    """``with TokenServer(passwords, grants) as tokens`` serves ``tokens.realm``; pass it to ``start_registry``."""

    service = "tests"
    issuer = "reducto tests"

    def __init__(self, passwords: Mapping[str, str], grants: Grants, lifetime_seconds: int = 300) -> None:
        self.passwords = dict(passwords)
        self.grants = grants
        self.lifetime_seconds = lifetime_seconds
        self.requests: list[tuple[str, tuple[str, ...]]] = []  # (user, scopes) in the order of the requests
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = self._self_signed()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def write_certificate(self, path: Path) -> Path:
        path.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        return path

    def token(self, user: str, scopes: tuple[str, ...]) -> str:
        """A signed token with those of the ``scopes`` (``repository:NAME:pull,push``) that ``user`` has."""
        now = int(time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [_base64(self._certificate.public_bytes(Encoding.DER))]}
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "exp": now + self.lifetime_seconds,
            "nbf": now - 10,
            "iat": now,
            "jti": f"{user}-{time.monotonic_ns()}",
            "access": [access for scope in scopes if (access := self._granted(user, scope))],
        }
        signed = f"{_base64url(json.dumps(header).encode())}.{_base64url(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"

    def _granted(self, user: str, scope: str) -> dict[str, Any] | None:
        kind, _, rest = scope.partition(":")
        name, _, wanted = rest.rpartition(":")
        allowed: set[str] = set()
        for pattern, actions in self.grants.get(user, {}).items():
            if fnmatch.fnmatchcase(name, pattern):
                allowed |= actions
        granted = [action for action in wanted.split(",") if action in allowed or "*" in allowed]
        return {"type": kind, "name": name, "actions": granted} if granted else None

    def _self_signed(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.issuer)])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                user = self._basic_user()
                self._answer(user, tuple(scope for each in query.get("scope", []) for scope in each.split()))

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                form = urllib.parse.parse_qs(self.rfile.read(length).decode())
                user, password = form.get("username", [""])[0], form.get("password", [""])[0]
                known = user if tokens.passwords.get(user) == password else None
                self._answer(known, tuple(scope for each in form.get("scope", []) for scope in each.split()))

            def _basic_user(self) -> str | None:
                header = self.headers.get("Authorization", "")
                if not header:
                    return ""
                user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
                return user if tokens.passwords.get(user) == password else None

            def _answer(self, user: str | None, scopes: tuple[str, ...]) -> None:
                if user is None:
                    self.send_error(401)
                    return
                tokens.requests.append((user, scopes))
                token = tokens.token(user, scopes)
                issued = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                body = {
                    "token": token,
                    "access_token": token,
                    "expires_in": tokens.lifetime_seconds,
                    "issued_at": issued,
                }
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *values: object) -> None:
                """Logs nothing, because ``requests`` holds every request."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
