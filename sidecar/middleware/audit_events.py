"""The event that the audit log gets for a request: who did what to which digest, from where, and with what outcome.

``who`` is the identity that the caller claimed. Whether the claim is true is decided by the upstream, whose decision is
the ``outcome``: ``ok`` (the upstream allowed it), ``denied`` (401, 403), ``refused`` (other 4xx), ``failed`` (5xx) or
``broken`` (the answer did not end). Events never contain credentials.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import CIMultiDictProxy

from reducto.oci import routes
from reducto.oci.registry_errors import Refused, RegistryError
from reducto.trust.api_keys import ApiKey
from sidecar.api.exchange import CALL
from sidecar.middleware.client_address import ClientAddresses

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TEXT_LIMIT_CHARS = 256
_NAME = re.compile(r"[A-Za-z0-9._@+:/|=-]{1,128}")
#: How access tokens begin that some clients send as a user name; such a name is withheld.
_TOKEN = re.compile(r"ey[A-Za-z0-9_-]{20,}|gh[opsu]_|github_pat_|gl[a-z]{2,5}-|dckr_|rdk_|xox[a-z]-|npm_|ya29\.")


class AuditSink(Protocol):
    """Anything that takes events; `sidecar.middleware.audit_log.AuditLog` does."""

    def record(self, event: dict[str, Any]) -> None:
        """Takes one event, without blocking."""


def audited(log: AuditSink, clients: ClientAddresses) -> Middleware:
    """A middleware that records requests on the data port, except mere steps of an upload (see `describe`)."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        status, digest = 0, None
        try:
            response = await handler(request)
            status, digest = response.status, response.headers.get("Docker-Content-Digest")
            return response
        except (RegistryError, Refused, web.HTTPException) as error:
            status = error.status
            raise
        except asyncio.CancelledError:
            status = 0
            raise
        except Exception:
            status = 500
            raise
        finally:
            what = describe(request, routes.parse(request.path))
            if what is not None:
                if digest is not None and "digest" not in what:
                    what["digest"] = _short(digest)
                log.record(what | _context(request, clients, status))

    return middleware


def audit_control(log: AuditSink, clients: ClientAddresses) -> Callable[[web.Request, ApiKey | None, int], None]:
    """Records requests on the control port; the ``audit`` of `sidecar.middleware.api_key_check.key_required`."""

    def record(request: web.Request, key: ApiKey | None, status: int) -> None:
        event = {"action": "control", "method": request.method, "path": _short(request.path)}
        context = _context(request, clients, status)
        context["who"] = {"api_key": key.key_id, "name": key.name} if key else {}
        log.record(event | context)

    return record


def describe(request: web.Request, route: routes.Route) -> dict[str, Any] | None:
    """The action and its object; None for the chunks and the status of an upload."""
    method, query = request.method, request.query
    match route:
        case routes.Base():
            return {"action": "login"}
        case routes.Catalog():
            return {"action": "list-repositories"}
        case routes.Tags(repository):
            return {"action": "list-tags", "repository": str(repository)}
        case routes.Referrers(repository, digest):
            return {"action": "list-referrers", "repository": str(repository), "digest": str(digest)}
        case routes.BlobAt(repository, digest):
            return {"action": f"{_verb(method)}-blob", "repository": str(repository), "digest": str(digest)}
        case routes.ManifestAt(repository, reference):
            event = {"action": f"{_verb(method)}-manifest", "repository": str(repository), "reference": str(reference)}
            return event | ({"digest": str(reference)} if ":" in str(reference) else {})
        case routes.Uploads(repository):
            if "mount" in query:
                source = _short(query.get("from", ""))
                what = {"action": "mount-blob", "digest": _short(query["mount"]), "from": source}
            elif "digest" in query:
                what = {"action": "push-blob", "digest": _short(query["digest"])}
            else:
                what = {"action": "begin-upload"}
            return what | {"repository": str(repository)}
        case routes.UploadAt(repository):
            if method == "PUT":
                pushed = _short(query.get("digest", ""))
                return {"action": "push-blob", "repository": str(repository), "digest": pushed}
            return {"action": "cancel-upload", "repository": str(repository)} if method == "DELETE" else None
        case routes.Other(path):
            return {"action": "other", "method": method, "path": _short(path)}


def principal(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """The identity that the caller claims: a user name or a token's subject. Passwords and tokens are left out."""
    scheme, _, credential = headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "":
            return {}
        case "basic":
            return {"scheme": "basic", "user": _safe_name(_basic_user(credential))}
        case "bearer":
            return {"scheme": "bearer", "claimed_subject": _safe_name(_subject(credential))}
    return {"scheme": "other"}


def _context(request: web.Request, clients: ClientAddresses, status: int) -> dict[str, Any]:
    return {
        "who": principal(request.headers),
        "client": clients.of(request.remote, request.headers.get("X-Forwarded-For")),
        "agent": _short(request.headers.get("User-Agent", ""), 120),
        "request_id": request[CALL].caller.request_id if CALL in request else "",
        "status": status,
        "outcome": outcome_of(status),
    }


def outcome_of(status: int) -> str:
    """The outcome in a word. Status 0 or 499 stands for an answer that did not end."""
    if status in (0, 499):
        return "broken"
    if status in (401, 403):
        return "denied"
    return "ok" if status < 400 else "refused" if status < 500 else "failed"


def _verb(method: str) -> str:
    return {"GET": "pull", "HEAD": "check", "PUT": "push", "DELETE": "delete"}.get(method, method.lower()[:16])


def _basic_user(credential: str) -> str:
    try:
        return base64.b64decode(credential.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _subject(token: str) -> str:
    """The unverified ``sub`` of a JSON web token (RFC 7519); empty for other tokens."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        subject = claims.get("sub", "")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return subject if isinstance(subject, str) else ""


def _safe_name(name: str) -> str:
    """The name, or ``(withheld)`` if it could be a secret that was sent as a name."""
    if not name:
        return ""
    return name if _NAME.fullmatch(name) and not _TOKEN.match(name) else "(withheld)"


def _short(text: str, limit_chars: int = _TEXT_LIMIT_CHARS) -> str:
    return text if len(text) <= limit_chars else text[:limit_chars] + "..."
