"""Addresses that the upstream gives out, as clients see them: they lead to the sidecar, never to the upstream."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from multidict import CIMultiDict

from reducto.oci.origin import origin_of
from reducto.oci.transport import RegistryResponse

_LINK_TARGET = re.compile(r"<([^>]*)>")


def own_path(address: str, base: str) -> str | None:
    """The path, with its query, under which this sidecar has what lies at the upstream's ``address``.

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
        return parts.path + query  # from a registry that does not know of the path which a proxy puts before it
    if not base or not parts.netloc:
        return parts.path + query
    try:
        same = origin_of(address) == origin_of(base)
    except ValueError:
        return None
    return parts.path[len(prefix) :] + query if same and parts.path.startswith(f"{prefix}/") else None


def translate(headers: CIMultiDict[str], answer: RegistryResponse, base: str) -> None:
    """Makes the addresses in ``Location`` and ``Link`` the sidecar's own, as far as they can be."""
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
