"""Refusals in the registry's own JSON form (distribution-spec, "Error codes")."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from typing import Any

from reducto.errors import ReductoError


class RegistryError(ReductoError):
    """A refusal that a client sees: an HTTP status and the specification's error code."""

    status = 500
    code = "UNKNOWN"

    def __init__(self, message: str, *, detail: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.headers = dict(headers or {})

    def to_body(self) -> bytes:
        """The error as the specification's JSON document."""
        return error_body(self.code, self.message, self.detail)


def error_body(code: str, message: str, detail: Any = None) -> bytes:
    """One error as the specification's JSON document."""
    error = {"code": code, "message": message}
    if detail is not None:
        error["detail"] = detail
    return json.dumps({"errors": [error]}).encode()


class NameInvalid(RegistryError):
    status, code = 400, "NAME_INVALID"


class NameUnknown(RegistryError):
    status, code = 404, "NAME_UNKNOWN"


class TagInvalid(RegistryError):
    status, code = 400, "TAG_INVALID"


class DigestInvalid(RegistryError):
    status, code = 400, "DIGEST_INVALID"


class BlobUnknown(RegistryError):
    status, code = 404, "BLOB_UNKNOWN"


class ManifestUnknown(RegistryError):
    status, code = 404, "MANIFEST_UNKNOWN"


class ManifestInvalid(RegistryError):
    status, code = 400, "MANIFEST_INVALID"


class ManifestTooLarge(RegistryError):
    status, code = 413, "MANIFEST_INVALID"


class ManifestBlobUnknown(RegistryError):
    status, code = 404, "MANIFEST_BLOB_UNKNOWN"


class UploadUnknown(RegistryError):
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
    """The upstream answered what no registry may answer."""

    status, code = 502, "UPSTREAM_INVALID"
