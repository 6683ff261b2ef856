"""Refusals in the registry's own JSON form (distribution-spec, "Error codes")."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from multidict import CIMultiDict

from reducto.errors import ReductoError

_KNOWN_STATUSES = frozenset(status.value for status in HTTPStatus)
#: Fields of a refusal that are as true for a client as they were for us.
_REFUSAL_FIELD = re.compile(
    r"(?:www-authenticate|content-type|retry-after|docker-distribution-api-version|ratelimit(?:-.*)?)$", re.IGNORECASE
)


class RegistryError(ReductoError):
    """A refusal that a client sees: an HTTP status and the specification's error code."""

    status = 500
    code = "UNKNOWN"

    def __init__(self, message: str, *, detail: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.headers: Mapping[str, str] = dict(headers or {})

    def to_body(self) -> bytes:
        """The error as the specification's JSON document."""
        return error_body(self.code, self.message, self.detail)


def error_body(code: str, message: str, detail: Any = None) -> bytes:
    """One error as the specification's JSON document."""
    error = {"code": code, "message": message}
    if detail is not None:
        error["detail"] = detail
    return json.dumps({"errors": [error]}).encode()


class NotInRegistry(RegistryError):
    """What was asked for is not there."""

    status, code = 404, "NOT_FOUND"


class NameInvalid(RegistryError):
    status, code = 400, "NAME_INVALID"


class NameUnknown(NotInRegistry):
    status, code = 404, "NAME_UNKNOWN"


class TagInvalid(RegistryError):
    status, code = 400, "TAG_INVALID"


class DigestInvalid(RegistryError):
    status, code = 400, "DIGEST_INVALID"


class BlobUnknown(NotInRegistry):
    status, code = 404, "BLOB_UNKNOWN"


class ManifestUnknown(NotInRegistry):
    status, code = 404, "MANIFEST_UNKNOWN"


class ManifestInvalid(RegistryError):
    status, code = 400, "MANIFEST_INVALID"


class ManifestTooLarge(RegistryError):
    status, code = 413, "MANIFEST_INVALID"


class ManifestBlobUnknown(NotInRegistry):
    status, code = 404, "MANIFEST_BLOB_UNKNOWN"


class UploadUnknown(NotInRegistry):
    status, code = 404, "BLOB_UPLOAD_UNKNOWN"


class UploadInvalid(RegistryError):
    status, code = 400, "BLOB_UPLOAD_INVALID"


class RangeInvalid(RegistryError):
    """A chunk out of order; distribution-spec, "Pushing a blob in chunks"."""

    status, code = 416, "BLOB_UPLOAD_INVALID"


class SizeInvalid(RegistryError):
    status, code = 413, "SIZE_INVALID"


class Denied(RegistryError):
    status, code = 403, "DENIED"


class Unsupported(RegistryError):
    status, code = 405, "UNSUPPORTED"


class TooManyRequests(RegistryError):
    status, code = 429, "TOOMANYREQUESTS"


class Unavailable(RegistryError):
    """Something that a retry may mend: the upstream or the disk is not there just now."""

    status, code = 503, "UNAVAILABLE"

    def __init__(self, message: str, *, detail: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, detail=detail, headers={"Retry-After": "5", **(headers or {})})


class StorageFull(Unavailable):
    status = 507


def is_full(error: OSError) -> bool:
    """Whether the disk, or this user's part of it, has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class UpstreamBroken(RegistryError):
    """The registry's answer violates the distribution specification."""

    status, code = 502, "UPSTREAM_INVALID"


class WrongContent(UpstreamBroken):
    """The registry sent other bytes than the digest names that was asked for."""


#: The specification's codes for statuses without a body.
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}


class Refused(RegistryError):
    """A registry's refusal in its own words, which `to_body` gives back.

    ``headers`` are those of its answer that a client understands, such as the challenge of a 401.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, asked: str = "") -> None:
        """``asked`` is the request that was refused (``GET http://...``), for the message."""
        phrase = HTTPStatus(status).phrase if status in _KNOWN_STATUSES else ""
        words = _words_of(body)
        super().__init__(": ".join(filter(None, (asked, f"{status} {phrase}".strip(), words))))
        self.status = status
        self.headers = CIMultiDict((name, value) for name, value in headers.items() if _REFUSAL_FIELD.match(name))
        self.body = body

    def to_body(self) -> bytes:
        """The registry's own words; the answer to a HEAD has none, and then the status says what there is to say."""
        if self.body:
            return self.body
        phrase = HTTPStatus(self.status).phrase if self.status in _KNOWN_STATUSES else "refused"
        return error_body(_CODES.get(self.status, "UNKNOWN"), f"the registry answers {self.status} {phrase}")


def _words_of(body: bytes) -> str:
    """What the specification's JSON document of errors says, or the body itself if it is short text."""
    try:
        errors = json.loads(body)["errors"]
        return "; ".join(f"{each.get('code')} {each.get('message') or ''}".strip() for each in errors)[:1000]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = body[:300].decode(errors="replace").strip()
        return text if text.isprintable() else ""
