"""A repository of a registry for code without an event loop: the command line, and threads that may wait."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

from reducto.errors import Corrupt, ReductoError
from reducto.files import AtomicFile
from reducto.oci.address import RegistryAddress
from reducto.oci.client import RegistryClient, RepositoryClient, StoredManifest
from reducto.oci.credentials import DockerCredentials
from reducto.oci.http import HttpOptions, HttpTransport
from reducto.oci.names import Reference, Tag
from reducto.oci.registry_errors import (
    ManifestUnknown,
    NotInRegistry,
    Refused,
    RegistryError,
    Unavailable,
    UpstreamBroken,
    WrongContent,
)
from reducto.oci.retry import RetryPolicy
from reducto.oci.tokens import AuthenticatedTransport
from reducto.oci.transport import Caller, ConnectionCut, ThreadWorkers
from reducto.values import Descriptor, Digest

T = TypeVar("T")
Advance = Callable[[int], None]

_RETRIES = RetryPolicy(3, 0.5)
_OWN = Caller(service=True)


def is_local(host: str) -> bool:
    """Whether the host is this machine, where registries usually speak plain HTTP, as docker takes it."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in ("localhost", "127.0.0.1", "[::1]") or name.startswith("127.")


def patient_options(url: str, ca_file: Path | None) -> HttpOptions:
    """How programs that wait by themselves reach a server: as often as `_RETRIES` says, through the user's proxies."""
    return HttpOptions(url=url, ca_file=ca_file, retries=_RETRIES, patient=True, environment_proxies=True)


class Waiter:
    """Runs coroutines to their end on an event loop of its own, one at a time, from whatever thread. `close` it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``."""
        with self._lock:
            return self._runner.run(work)

    def close(self) -> None:
        """Ends the event loop."""
        with self._lock:
            self._runner.close()


class BlockingRepository:
    """One repository of one registry, asked with the user's own credentials. Thread-safe; `close` it.

    ``plain_http`` None means HTTP for registries on this machine only. ``credentials`` None means those of
    `docker login`. Every method raises `RegistryError` when the registry cannot be reached or refuses, which is
    `NotInRegistry` for what is not there, and `Corrupt` when it sends other bytes than a digest names.
    """

    def __init__(
        self,
        address: RegistryAddress,
        *,
        plain_http: bool | None = None,
        ca_file: Path | None = None,
        credentials: DockerCredentials | None = None,
    ) -> None:
        insecure = is_local(address.host) if plain_http is None else plain_http
        self.address = address
        self._url = f"{'http' if insecure else 'https'}://{address.host}"
        self._credentials = credentials or DockerCredentials.of_user()
        credential = self._credentials.find(address.host)
        self._waiter = Waiter()

        async def connect() -> HttpTransport:
            return HttpTransport(patient_options(self._url, ca_file), ThreadWorkers())

        try:
            self._transport = self._waiter.run(connect())
        except OSError as error:
            self._waiter.close()
            raise ReductoError(f"the certificates in {ca_file} cannot be used: {error}") from error
        client = RegistryClient(AuthenticatedTransport(self._transport, self._url, credential), ThreadWorkers())
        self._repository = client.repository(_OWN, address.repository)

    def close(self) -> None:
        """Ends connections and the event loop."""
        self._waiter.run(self._transport.close())
        self._waiter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading

    def manifest(self, reference: Reference | None = None) -> StoredManifest:
        """The manifest or index under a tag or digest, by default the one that the address names."""
        wanted = reference or self.address.reference
        found = self._do(lambda repository: repository.manifest(wanted))
        if found is None:
            what = f"{self._url}/v2/{self.address.repository}/manifests/{wanted}"
            raise ManifestUnknown(f"{what}: not in the registry")
        return found

    def read_blob(self, blob: Descriptor, limit_bytes: int) -> bytes:
        """A small blob's bytes."""
        return self._do(lambda repository: repository.read_blob(blob, limit_bytes))

    def copy_blob(self, blob: Descriptor, file: BinaryIO, advance: Advance | None = None) -> None:
        """Writes a blob into an open file. ``advance`` is told the number of bytes whenever some have arrived."""
        self._do(lambda repository: repository.copy_blob(blob, file, _Progress(advance)))

    def download(self, blob: Descriptor, target: Path, advance: Advance | None = None) -> None:
        """Puts a blob at ``target``, whole or not at all."""
        with AtomicFile(target) as file:
            self.copy_blob(blob, file.file, advance)
            file.publish()

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository holds the blob."""
        return self._do(lambda repository: repository.has_blob(digest))

    # -- writing

    def upload(self, path: Path, media_type: str) -> Descriptor:
        """Stores a file as a blob unless it is there already."""
        with path.open("rb") as file:
            digest = Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())
        return self._put(Descriptor(media_type, digest, path.stat().st_size), path)

    def upload_bytes(self, content: bytes, media_type: str) -> Descriptor:
        """As `upload`, for a few bytes."""
        return self._put(Descriptor(media_type, Digest.of(content), len(content)), content)

    def put_manifest(self, content: bytes, media_type: str, tag: Tag) -> Digest:
        """Stores a manifest under ``tag`` and returns its digest."""
        self._do(lambda repository: repository.put_manifest(tag, content, media_type))
        return Digest.of(content)

    def _put(self, blob: Descriptor, content: bytes | Path) -> Descriptor:
        async def put(repository: RepositoryClient) -> None:
            if not await repository.has_blob(blob.digest):
                await repository.put_blob(blob.digest, content)

        self._do(put)
        return blob

    def _do(self, work: Callable[[RepositoryClient], Awaitable[T]]) -> T:
        async def do() -> T:
            return await work(self._repository)

        with speaking_to(f"{self._url}/v2/{self.address.repository}"):
            try:
                return self._waiter.run(do())
            except Refused as refusal:
                if refusal.status == 401 and self._credentials.problem:
                    raise RegistryError(f"{refusal} ({self._credentials.problem})") from refusal
                raise


class _Progress:
    """Tells ``advance`` by how much a download has grown."""

    def __init__(self, advance: Advance | None) -> None:
        self._advance = advance
        self._length = 0

    async def advance(self, length: int) -> None:
        if self._advance is not None and length > self._length:
            self._advance(length - self._length)
        self._length = length


@contextmanager
def speaking_to(url: str) -> Iterator[None]:
    """Gives errors the address of the server that they come from, and other bytes than expected the class `Corrupt`."""
    try:
        yield
    except Refused as refusal:
        if refusal.status == 404:
            raise NotInRegistry(f"{refusal}: not in the registry") from refusal
        raise
    except WrongContent as error:
        raise Corrupt(f"{url}: {error}") from error
    except (Unavailable, UpstreamBroken) as error:
        reason = str(error.__cause__ or "")
        raise type(error)(f"{url}: {error}" + (f" ({reason})" if reason else "")) from error
    except ConnectionCut as error:
        raise Unavailable(f"{url}: the connection broke: {error}") from error
