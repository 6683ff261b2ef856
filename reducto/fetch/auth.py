"""Answers a registry's challenges: basic authentication, and tokens as the distribution specification has them.

Credentials are docker's (config.json, credential helpers), found by oras-py. Its own handling of challenges is not
used: it knows one scheme per client, and sends a token again that was refused for want of scope.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import requests
from oras.auth.token import TokenAuth
from oras.container import Container

from reducto.fetch.reference import Reference

_PARAMETER = re.compile(r'([a-z_]+)=(?:"([^"]*)"|([^",\s]+))')


class Authenticator:
    """The credentials of one repository. `headers` go with each request; `answer` reacts to a 401."""

    def __init__(self, reference: Reference) -> None:
        store = TokenAuth()
        store.load_configs(Container(f"{reference.host}/{reference.repository}"))
        self._basic: str | None = getattr(store, "_basic_auth", None)
        self._authorization: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What identifies the caller, as far as the registry asked for it."""
        return {"Authorization": self._authorization} if self._authorization else {}

    def answer(self, response: requests.Response, session: requests.Session, verify: Any) -> bool:
        """True if the request is worth repeating with other `headers`. Raises `requests.RequestException`."""
        scheme, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
        parameters = {name: quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
        before = self._authorization
        if scheme.lower() == "basic" and self._basic:
            self._authorization = f"Basic {self._basic}"
        elif scheme.lower() == "bearer" and _may_ask(parameters.get("realm", ""), response.url):
            token = self._token(parameters, session, verify)
            self._authorization = f"Bearer {token}" if token else None
        return self._authorization is not None and self._authorization != before

    def _token(self, parameters: dict[str, str], session: requests.Session, verify: Any) -> str | None:
        asked = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        headers = {"Authorization": f"Basic {self._basic}"} if self._basic else {}
        with session.get(parameters["realm"], params=asked, headers=headers, verify=verify) as response:
            if response.status_code != 200:
                return None
            document = response.json()
        token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
        return token if isinstance(token, str) else None


def _may_ask(realm: str, registry_url: str) -> bool:
    """False for a token server that is none, or that would have credentials sent in the clear for a TLS registry."""
    scheme = urlsplit(realm).scheme
    return scheme == "https" or (scheme == "http" and urlsplit(registry_url).scheme == "http")
