"""API keys of the control port: health and metrics are open, every other request needs a key with the right scope."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.errors import UsageError
from reducto.oci.registry_errors import Denied, RegistryError, TooManyRequests
from reducto.trust.api_keys import ApiKey, ApiKeys, ApiScope
from sidecar.api.error_response import error_response
from sidecar.middleware.client_address import ClientAddresses, group_of
from sidecar.middleware.rate_limits import RateLimiter
from sidecar.runtime import logs

API_KEY: web.RequestKey[ApiKey] = web.RequestKey("api_key", ApiKey)
"""The key that a request was admitted with."""

OPEN_PATHS = ("/health", "/health/live", "/health/ready", "/health/startup", "/metrics")
ADMIN_PREFIX = "/api/v1/admin/"
#: How often the file of API keys is looked at.
RELOAD_SECONDS = 1.0
#: How many wrong keys one client may send: so many each second, after so many at once. More get 429.
_WRONG_PER_SECOND, _WRONG_AT_ONCE = 1.0, 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyNeeded(RegistryError):
    """The request has no API key, or one that is unknown, expired or revoked."""

    status, code = 401, "UNAUTHORIZED"

    def __init__(self) -> None:
        super().__init__(
            "this needs an API key: Authorization: Bearer rdk_... (reducto keys api create)",
            headers={"WWW-Authenticate": 'Bearer realm="reducto control port"'},
        )


class ApiKeyFile:
    """The API keys in a file, which is read again when it changes. Without a file no key is valid."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self.keys = ApiKeys()
        self.reload()

    def reload(self) -> None:
        """Reads the file if it changed. While the file is missing, no key is valid. Blocks. Raises `UsageError`."""
        if self._path is None:
            return
        try:
            state = os.stat(self._path)
            stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            self.keys, self._stamp = ApiKeys(), None
            return
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"API keys {self._path} cannot be read: {error}") from None
        self.keys, self._stamp = ApiKeys.parse(text), stamp

    async def reload_logged(self) -> None:
        """Reads the file if it changed. When it cannot be used, that is logged and the keys stay as they were."""
        try:
            await asyncio.to_thread(self.reload)
        except UsageError as error:
            logs.trouble("api-keys-not-read", error)


def scope_needed(method: str, path: str) -> ApiScope | None:
    """The scope that a request needs, or None when it needs no API key."""
    if path in OPEN_PATHS and method in ("GET", "HEAD"):
        return None
    if path.startswith(ADMIN_PREFIX):
        return ApiScope.ADMIN
    return ApiScope.READ if method in ("GET", "HEAD") else ApiScope.WRITE


def key_required(
    file: ApiKeyFile,
    clients: ClientAddresses,
    audit: Callable[[web.Request, ApiKey | None, int], None] = lambda *_: None,
) -> Middleware:
    """A middleware that admits requests whose API key has the scope that they need.

    ``audit`` is called with the request, its key and the status of the answer, for every request that needed a key.
    """
    wrong = RateLimiter(_WRONG_PER_SECOND, _WRONG_AT_ONCE)

    def admit(request: web.Request) -> ApiKey | None:
        scope = scope_needed(request.method, request.path)
        if scope is None:
            return None
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        key = file.keys.find(token.strip()) if kind.lower() == "bearer" else None
        if key is None:
            client = group_of(clients.of(request.remote, request.headers.get("X-Forwarded-For")))
            if wait := wrong.take(client):
                raise TooManyRequests("too many wrong API keys", headers={"Retry-After": str(int(wait) + 1)})
            raise KeyNeeded
        if scope not in key.scopes:
            raise Denied(f"API key {key.key_id} does not have the scope {scope.value}")
        request[API_KEY] = key
        return key

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        key: ApiKey | None = None
        status = 500
        needed = scope_needed(request.method, request.path) is not None
        try:
            key = admit(request)
            response = await handler(request)
            status = response.status
            return response
        except RegistryError as error:
            status = error.status
            return error_response(error)
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            if needed:
                audit(request, key, status)

    return middleware
