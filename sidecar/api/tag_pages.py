"""One page of a tag list, made from pages of the upstream that have record tags among the clients' tags."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web
from multidict import CIMultiDict

from sidecar.api.addresses import own_path
from sidecar.records.tags import RECORD_TAG_PREFIX


class TagPage:
    """The tags that a client gets in one answer.

    If the upstream can go on behind any tag (its ``Link`` says ``last=<the page's last tag>``), the page is as long as
    the client asks for, although record tags are left out. Any other ``Link`` is opaque: only the upstream knows what
    it means. The page is then made of whole pages of the upstream, and the client gets the upstream's ``Link`` to the
    next one.
    """

    def __init__(self, path: str, base: str, wanted: int | None) -> None:
        """``path`` is the list's path on the sidecar, ``base`` the upstream's address, and ``wanted`` how many tags the
        client asks for."""
        self._path = path
        self._base = base
        self._wanted = wanted
        self._tags: list[str] = []
        self._opaque = False
        self._next: str | None = None

    def take(self, tags: list[Any], asked: str, following: str | None) -> bool:
        """Adds a page of the upstream that was read at the address ``asked``. Returns whether the next page, at the
        address ``following``, is needed.

        Items that are no tags are left out.
        """
        own = [tag for tag in tags if isinstance(tag, str) and not tag.startswith(RECORD_TAG_PREFIX)]
        self._opaque = self._opaque or (following is not None and not _goes_on_behind(tags, following))
        if self._wanted is not None and len(tags) > self._wanted:
            # The registry ignores the length, so it has no pages, and a Link would give clients the same tags for ever.
            self._wanted = None
        too_many = self._wanted is not None and len(self._tags) + len(own) > self._wanted
        if self._opaque and too_many and self._tags and self._own(asked) is not None:
            self._next = asked
            return False
        self._tags += own
        self._next = following
        if following is None:
            return False
        if self._opaque and self._own(following) is None:
            return True  # The client cannot ask for that page through the sidecar.
        # Without record tags, the page has fewer tags than were asked for, or none at all.
        return len(self._tags) < self._wanted if self._wanted is not None else not self._tags

    def response(self, document: dict[str, Any], headers: CIMultiDict[str]) -> web.Response:
        """The answer for the client: the upstream's last answer (``document`` and ``headers``) with these tags."""
        page = self._tags if self._wanted is None or self._opaque else self._tags[: self._wanted]
        headers.pop("Link", None)
        headers.pop("Content-Length", None)
        if self._opaque:
            if self._next is not None and (following := self._own(self._next)) is not None:
                headers["Link"] = f'<{following}>; rel="next"'
        elif page and (self._next is not None or len(page) < len(self._tags)):
            query = {"n": self._wanted, "last": page[-1]} if self._wanted is not None else {"last": page[-1]}
            headers["Link"] = f'<{self._path}?{urlencode(query)}>; rel="next"'
        return web.Response(status=200, body=json.dumps({**document, "tags": page}).encode(), headers=headers)

    def _own(self, address: str) -> str | None:
        """The address as a path on the sidecar; None if it is no page of this tag list."""
        own = own_path(address, self._base)
        return own if own is not None and own.partition("?")[0] == self._path else None


def _goes_on_behind(tags: list[Any], following: str) -> bool:
    """Whether the query of the next page's address has this page's last tag, and at most a page length besides."""
    query = dict(parse_qsl(urlsplit(following).query))
    return bool(tags) and set(query) <= {"n", "last"} and query.get("last") == tags[-1]
