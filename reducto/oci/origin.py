"""The rule of what may leave a registry's origin, which everything that sends requests applies.

Nothing that identifies a caller goes to another origin than the one that it was meant for. An origin is a scheme, a
host and a port, as browsers take it (RFC 6454).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from multidict import CIMultiDict
from yarl import URL

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Headers that say what is wanted and nothing about who wants it. Every other header may identify the caller: new
#: ways to pass a secret are invented all the time (Private-Token, X-JFrog-Art-Api), so a list of these could not last.
_ANONYMOUS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "range"),
        *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),
        *("content-type", "content-length", "content-range", "content-encoding", "digest", "content-digest"),
    }
)


class Origin(NamedTuple):
    """Scheme, host and port of an address, in lower case."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != _DEFAULT_PORTS[self.scheme] else "")


def origin_of(url: str | URL) -> Origin:
    """The origin of an http or https address. Raises `ValueError` for what is none.

    The address is read by the parser that connections are made with: two parsers may see two hosts in one address.
    """
    parsed = url if isinstance(url, URL) else URL(url, encoded=True)
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.raw_host or not parsed.port:
        raise ValueError(f"{str(url)[:200]!r} is not an http or https address")
    return Origin(parsed.scheme, parsed.raw_host.lower(), parsed.port)


def anonymous_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Those of the headers that another origin than the registry's may see."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() in _ANONYMOUS)
