"""Files on web servers: fetched whole, and only when they changed."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from reducto.errors import LimitExceeded, ReductoError, UsageError
from reducto.fetch.blocking import Advance, Waiter, patient_options, speaking_to
from reducto.oci.credentials import basic
from reducto.oci.http import HttpTransport
from reducto.oci.registry_errors import NotInRegistry, RegistryError
from reducto.oci.transport import Caller, RegistryRequest, ThreadWorkers


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file at an ``https://`` or ``http://`` address, which may hold a user's name and password."""

    address: str
    ca_file: Path | None = None
    limit_bytes: int = 1 << 62

    @property
    def name(self) -> str:
        """The address without user, password and query, which may hold secrets."""
        parts = urlsplit(self.address)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def fetch(self, file: BinaryIO, etag: str | None, advance: Advance) -> str | None:
        """Writes the content into an open file, and returns the entity tag that the server gave it, if any.

        ``etag`` is that of an earlier content; `NotModified` is raised, and nothing written, when it is still the same.
        Raises `NotInRegistry`, `RegistryError`, `LimitExceeded`.
        """
        waiter = Waiter()
        try:
            with speaking_to(self.name):
                return waiter.run(self._fetch(file, etag, advance))
        finally:
            waiter.close()

    async def _fetch(self, file: BinaryIO, etag: str | None, advance: Advance) -> str | None:
        parts, workers = urlsplit(self.address), ThreadWorkers()
        server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        target = f"{server}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
        user = basic(unquote(parts.username or ""), unquote(parts.password or "")) if "@" in parts.netloc else None
        headers = {"If-None-Match": etag} if etag else {}
        request = RegistryRequest("GET", target, Caller(user), headers)
        try:
            transport = HttpTransport(patient_options(server, self.ca_file), workers)
        except ValueError:
            raise UsageError(f"{self.name} is not an address of a file") from None
        except OSError as error:
            raise ReductoError(f"the certificates in {self.ca_file} cannot be used: {error}") from error
        try:
            async with await transport.send(request) as answer:
                if answer.status == HTTPStatus.NOT_MODIFIED and etag:
                    raise NotModified
                if answer.status == HTTPStatus.NOT_FOUND:
                    raise NotInRegistry(f"{self.name}: 404, no such corpus")
                if answer.status != HTTPStatus.OK:
                    raise RegistryError(f"{self.name}: the server answers {answer.status}")
                length = 0
                async for piece in answer.pieces():
                    length += len(piece)
                    if length > self.limit_bytes:
                        limit = f"corpus.max_cache_size, {self.limit_bytes} bytes"
                        raise LimitExceeded(f"{self.name}: more than {limit}")
                    await workers.io(file.write, piece)
                    advance(len(piece))
                return answer.headers.get("ETag")
        finally:
            await transport.close()


class NotModified(Exception):
    """The server's file is still the one whose entity tag was shown."""
