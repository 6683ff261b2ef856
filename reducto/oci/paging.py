"""Where a listing goes on: the ``Link`` header field (RFC 8288) of a registry's page."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin

from reducto.oci.header_fields import FieldScanner


def next_page(fields: Iterable[str], page_url: str) -> str | None:
    """The address of the next page, made absolute by that of this one; None at the end of the listing.

    ``fields`` are the answer's ``Link`` fields. What the address holds is the registry's own business: a page number,
    the last tag or an opaque token.
    """
    scanner = FieldScanner(", ".join(fields))
    while True:
        scanner.skip(" \t,")
        if scanner.ended:
            return None
        if not scanner.take("<"):
            scanner.until(",")
            continue
        address = _address(scanner)
        parameters = _parameters(scanner)
        # A link with an anchor leads on from another document than this page.
        if "next" in parameters.get("rel", "").lower().split() and "anchor" not in parameters:
            try:
                return urljoin(page_url, address)
            except ValueError:
                return None


def _address(scanner: FieldScanner) -> str:
    """What stands before ``>``, where commas and quotes mean nothing."""
    stop = scanner.text.find(">", scanner.at)
    stop = len(scanner.text) if stop < 0 else stop
    address = scanner.text[scanner.at : stop]
    scanner.at = stop + 1
    return address.strip()


def _parameters(scanner: FieldScanner) -> dict[str, str]:
    parameters: dict[str, str] = {}
    while scanner.take(";"):
        scanner.skip()
        name = scanner.token().lower()
        value = scanner.value() if scanner.take("=") else ""
        if name:
            parameters.setdefault(name, value)
        scanner.until(";,")
    return parameters
