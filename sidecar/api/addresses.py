"""Translates the upstream's addresses for clients, so that they lead to the sidecar and never to the upstream."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from multidict import CIMultiDict

from reducto.oci.origin import origin_of
from reducto.oci.transport import RegistryResponse

_LINK_TARGET = re.compile(r"<([^>]*)>")


def own_path(address: str, base: str) -> str | None:
    """The path and query on this sidecar that correspond to the upstream's ``address``.

    ``base`` is the upstream's own address, which may have a path, or is empty for the embedded store. None for an
    address that cannot be reached through the sidecar, such as one of the upstream's storage.
    """
    parts = urlsplit(address)
    query = f"?{parts.query}" if parts.query else ""
    prefix = urlsplit(base).path.rstrip("/")
    if parts.path.startswith(f"{prefix}/v2/") or parts.path == f"{prefix}/v2":
        # A registry behind a proxy may give out another host's name for itself, so that only the path matters.
        return parts.path[len(prefix) :] + query
    if parts.path.startswith("/v2/"):
        return parts.path + query  # The registry does not know the path that a proxy puts before its own.
    if not base or not parts.netloc:
        return parts.path + query
    try:
        same = origin_of(address) == origin_of(base)
    except ValueError:
        return None
    return parts.path[len(prefix) :] + query if same and parts.path.startswith(f"{prefix}/") else None


def translate(headers: CIMultiDict[str], answer: RegistryResponse, base: str) -> None:
    """Replaces the addresses in ``Location`` and ``Link`` by the sidecar's own. An address that cannot be reached
    through the sidecar stays."""
    if (location := answer.location) is not None:
        headers["Location"] = own_path(location, base) or location
    if "Link" in headers:
        links = ", ".join(headers.getall("Link"))
        headers["Link"] = _LINK_TARGET.sub(lambda found: f"<{_translated(found[1], answer.url, base)}>", links)


def _translated(address: str, url: str, base: str) -> str:
    try:
        whole = urljoin(url, address)
        return own_path(whole, base) or whole
    except ValueError:
        return address
