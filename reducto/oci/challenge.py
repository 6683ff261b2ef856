"""The one parser of ``WWW-Authenticate``: which credentials a registry asks for (RFC 9110, section 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reducto.oci.header_fields import FieldScanner

#: What may follow a scheme's name instead of parameters, as far as no comma and no value comes behind it.
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a server offers. Scheme and parameter names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token68: str = ""
    """What schemes such as Negotiate send instead of parameters."""


def parse_challenges(fields: Iterable[str]) -> list[Challenge]:
    """The challenges of all ``WWW-Authenticate`` fields of an answer, in their order.

    One field may hold several challenges. Their commas look like those between parameters: a name before ``=`` is a
    parameter, any other name begins the next challenge. A parameter that is given twice has its first value.
    Never raises: what breaks the grammar is left out up to the next comma.
    """
    scanner = FieldScanner(", ".join(fields))
    challenges: list[Challenge] = []
    parameters: dict[str, str] = {}
    while True:
        scanner.skip(" \t,")
        if scanner.ended:
            return challenges
        name = scanner.token().lower()
        if not name:
            scanner.until(",")
        elif scanner.take("="):
            parameters.setdefault(name, scanner.value())
        else:
            parameters = {}
            token68 = scanner.match(_TOKEN68) if scanner.skip() else ""
            challenges.append(Challenge(name, parameters, token68))
