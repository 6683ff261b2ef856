"""Refuses requests to the data port that come too fast, or whose path could be read in two ways.

`sidecar.push.sessions` limits the size of bodies and the number of upload sessions; `sidecar.middleware.connections`
limits connections and the time that headers may take.
"""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.oci.registry_errors import NameInvalid, TooManyRequests
from sidecar.middleware.client_address import ClientAddresses, group_of

#: The number of clients that a limiter remembers.
CLIENT_LIMIT = 65_536
PATH_LIMIT_BYTES = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RateLimiter:
    """A token bucket for each client: ``rate`` requests each second after ``burst`` at once. Rate 0 means no limit.

    It remembers `CLIENT_LIMIT` clients, and forgets the one that has been silent for longest.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Takes a token for one request: 0 if there was one, else the seconds until there is one."""
        if self._rate <= 0:
            return 0.0
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > CLIENT_LIMIT:
            self._buckets.popitem(last=False)  # its bucket has had the most time to fill, so this loses the least
        return 0.0 if allowed else (1.0 - tokens) / self._rate

    def __len__(self) -> int:
        return len(self._buckets)


def rate_limited(limiter: RateLimiter, clients: ClientAddresses) -> Middleware:
    """A middleware that refuses what the limiter refuses (429 with Retry-After), and ambiguous paths (400)."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        client = clients.of(request.remote, request.headers.get("X-Forwarded-For"))
        wait = limiter.take(group_of(client))
        if wait:
            raise TooManyRequests(
                "too many requests from this client; slow down", headers={"Retry-After": str(math.ceil(wait))}
            )
        complaint = path_complaint(request.rel_url.raw_path)
        if complaint:
            raise NameInvalid(complaint)
        return await handler(request)

    return middleware


def path_complaint(raw_path: str) -> str:
    """Why a path, in the bytes that were sent, is refused; empty when it is accepted.

    The sidecar and the upstream could read a path with dot segments, encoded slashes or control characters differently,
    so that access would be checked for one thing and given to another. No registry client sends such paths.
    """
    if len(raw_path) > PATH_LIMIT_BYTES:
        return f"the path is longer than {PATH_LIMIT_BYTES} bytes"
    decoded = unquote(raw_path)
    if _CONTROL.search(decoded):
        return "the path holds control characters or backslashes"
    if "%2f" in raw_path.lower():
        return "the path holds encoded slashes"
    if any(segment in (".", "..") for segment in unquote(decoded).split("/")):
        return "the path holds dot segments"
    return ""
