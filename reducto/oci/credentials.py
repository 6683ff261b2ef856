"""Credentials as `docker login` leaves them: a ``config.json`` and the credential helpers that it names.

oras-py can read such a file, too, but hands out what it found only as a private attribute, and knows neither identity
tokens nor entries with a user name and a password.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from reducto.errors import UsageError
from reducto.oci.address import DOCKER_HUB_NAMES

_FILE_LIMIT_BYTES = 16 << 20
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_HELPER_SECONDS = 60
#: What a credential helper gives as the user's name when its secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 - the word that the protocol has for it
#: What docker calls its own registry when it asks a credential store.
_HUB_SERVER = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Credential:
    """What identifies a user at one registry: a password, or one of two kinds of token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """An OAuth2 refresh token, which a token server exchanges for bearer tokens."""
    registry_token: str = field(default="", repr=False)
    """A bearer token that the registry itself takes."""

    @property
    def basic(self) -> str | None:
        """The ``Authorization`` field of basic authentication, or None without a password."""
        return basic(self.username, self.password) if self.password else None


def basic(user: str, password: str) -> str:
    """The ``Authorization`` field of basic authentication (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class DockerCredentials:
    """The credentials of a docker ``config.json``. Reading it and asking a helper block.

    ``problem`` says why a helper gave nothing, which is worth knowing once a registry has refused.
    """

    def __init__(self, document: dict[str, Any], name: str = "config.json") -> None:
        """Takes the file's JSON document; ``name`` is what errors call it. Raises `UsageError`."""
        self._auths = _mapping(document, "auths", name)
        self._helpers = _mapping(document, "credHelpers", name)
        self._store = document.get("credsStore") or ""
        self._name = name
        self.problem = ""

    @classmethod
    def load(cls, file: Path) -> Self:
        """The credentials in a file. Raises `UsageError` when it cannot be read or has another form."""
        try:
            with file.open("rb") as opened:
                content = opened.read(_FILE_LIMIT_BYTES)
            document = json.loads(content)
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"the credentials in {file} cannot be used: {error}") from error
        if not isinstance(document, dict):
            raise UsageError(f"the credentials in {file} cannot be used: the file is not a JSON object")
        return cls(document, str(file))

    @classmethod
    def of_user(cls) -> Self:
        """The credentials of who runs this program: those in docker's own file, or none. Raises `UsageError`."""
        file = Path(os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser()) / "config.json"
        return cls.load(file) if file.is_file() else cls({}, str(file))

    def find(self, host: str) -> Credential | None:
        """The credential for a registry (``host`` or ``host:port``), or None.

        The host's own helper goes first, then an entry that holds a credential, then the store of all others, as
        docker has it. Raises `UsageError` for a malformed entry.
        """
        for name in _names_of(host):
            if name in self._helpers:
                return self._ask(self._helpers[name], name)
        entries = sorted(self._auths.items(), key=lambda entry: entry[0] not in _names_of(host))
        for name, entry in entries:
            if _host_of(name) in _names_of(host) and (found := self._entry(name, entry)):
                return found
        for name in _names_of(host) if self._store else ():
            if found := self._ask(self._store, name):
                return found
        return None

    def _entry(self, name: str, entry: Any) -> Credential | None:
        """What an entry under ``auths`` says; None for one that only shows that a store has the credential."""
        try:
            user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
            if entry.get("auth"):
                decoded = base64.b64decode(entry["auth"], validate=True).decode()
                user, _, password = decoded.partition(":")
            token, bearer = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
        except (AttributeError, TypeError, binascii.Error, UnicodeDecodeError) as error:
            raise UsageError(f"the credentials in {self._name} cannot be used: {name}: {error}") from error
        # docker pads what it decodes with zero bytes.
        credential = Credential(user, password.rstrip("\0"), token, bearer)
        return credential if password or token or bearer else None

    def _ask(self, helper: Any, server: str) -> Credential | None:
        """What ``docker-credential-<helper> get`` knows of a server."""
        if not isinstance(helper, str) or _HELPER.fullmatch(helper) is None:
            raise UsageError(f"{self._name}: {helper!r} is not the name of a credential helper")
        program = f"docker-credential-{helper}"
        try:
            done = subprocess.run(
                [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self.problem = f"{program} cannot be asked: {error}"
            return None
        if done.returncode != 0:
            words = (done.stdout + done.stderr).decode(errors="replace").strip()
            if "credentials not found" not in words:
                self.problem = f"{program} failed: {words[:200]}"
            return None
        try:
            document = json.loads(done.stdout)
            user, secret = str(document["Username"]), str(document["Secret"])
        except (ValueError, KeyError, TypeError, RecursionError):
            self.problem = f"{program} answered something else than a user name and a secret"
            return None
        return Credential(identity_token=secret) if user == _TOKEN_USER else Credential(user, secret)


def _mapping(document: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"the credentials in {name} cannot be used: {key} is not a JSON object")
    return value


def _names_of(host: str) -> tuple[str, ...]:
    """The names under which a registry's credentials may be kept, its own first."""
    if host in DOCKER_HUB_NAMES:
        return (_HUB_SERVER, *DOCKER_HUB_NAMES)
    if "localhost" in host:
        return host, host.replace("localhost", "127.0.0.1")
    return (host, host.replace("127.0.0.1", "localhost")) if "127.0.0.1" in host else (host,)


def _host_of(name: str) -> str:
    """The host of an entry's name, which may also be an address with a scheme and a path."""
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]
