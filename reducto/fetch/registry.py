"""A registry as the command line needs it: every byte streamed and checked against its digest.

oras-py finds docker's credentials and holds the session. Its blob functions are not used: they check no digest, hold
whole blobs in memory, and retry for minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from oras.provider import Registry as OrasRegistry
from requests.adapters import HTTPAdapter

from reducto.errors import Corrupt, LimitExceeded, ReductoError
from reducto.fetch.auth import Authenticator
from reducto.fetch.reference import Reference
from reducto.files import AtomicFile
from reducto.values import Descriptor, Digest

MANIFEST_LIMIT_BYTES = 4 << 20
_PIECE_BYTES = 1 << 20
_TIMEOUTS_SECONDS = (10, 60)
_RETRY_DELAYS_SECONDS = (0.5, 2.0)
_PASSING = (429, 500, 502, 503, 504)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

Advance = Callable[[int], None]


class RegistryError(ReductoError):
    """The registry could not be reached, refused the request, or answered nonsense."""


class NotInRegistry(RegistryError):
    """The registry has no such manifest or blob."""


def is_local(host: str) -> bool:
    """True for this machine, where registries usually speak plain HTTP, as docker takes it."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in ("localhost", "127.0.0.1", "[::1]") or name.startswith("127.")


class Registry:
    """One repository of one registry. ``plain_http`` None: HTTP for this machine only."""

    def __init__(self, reference: Reference, *, plain_http: bool | None = None, ca_file: Path | None = None) -> None:
        insecure = is_local(reference.host) if plain_http is None else plain_http
        self._verify = str(ca_file) if ca_file else True
        self._session: requests.Session = OrasRegistry(
            hostname=reference.host, insecure=insecure, tls_verify=self._verify
        ).session
        self._base = f"{'http' if insecure else 'https'}://{reference.host}/v2/{reference.repository}"
        self._authenticator = Authenticator(reference)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Patience())
        self.reference = reference

    # -- reading -----------------------------------------------------------------------------------------------

    def manifest(self, name: str | None = None) -> tuple[dict[str, Any], Descriptor, bytes]:
        """The manifest or index of a tag or digest: parsed, described, and its exact bytes.

        Raises `NotInRegistry`, `RegistryError`, `Corrupt` (its digest is not the one asked for).
        """
        name = name or self.reference.manifest
        headers = {"Accept": ", ".join(_MANIFEST_TYPES)}
        with self._request("GET", f"{self._base}/manifests/{name}", headers=headers, stream=True) as response:
            content = _read_limited(response, MANIFEST_LIMIT_BYTES)
            media_type = response.headers.get("Content-Type", "").partition(";")[0]
        wanted = Digest.parse(name) if ":" in name else Digest.of(content)
        if Digest.of(content, wanted.algorithm) != wanted:
            raise Corrupt(f"{self._base}: the manifest sent for {name} has another digest")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise Corrupt(f"{self._base}: manifest {name} is not JSON") from None
        if not isinstance(document, dict):
            raise Corrupt(f"{self._base}: manifest {name} is not a JSON object")
        media_type = str(document.get("mediaType") or media_type)
        return document, Descriptor(media_type, wanted, len(content)), content

    def stream(self, digest: Digest, size: int) -> Iterator[bytes]:
        """The blob's bytes in pieces. The last is held back until length and digest agree; else `Corrupt`."""
        hasher, length, held = digest.hasher(), 0, b""
        with self._request("GET", f"{self._base}/blobs/{digest}", stream=True) as response, _speaking(self._base):
            for piece in response.iter_content(_PIECE_BYTES):
                hasher.update(piece)
                length += len(piece)
                if length > size:
                    break
                if held:
                    yield held
                held = piece
        if length != size or hasher.hexdigest() != digest.hex:
            raise Corrupt(f"{self._base}: blob {digest} arrived with other content or length ({length} of {size})")
        if held:
            yield held

    def download(self, digest: Digest, size: int, target: Path, advance: Advance | None = None) -> None:
        """Puts the blob at ``target``, whole or not at all. Raises as `stream`."""
        with AtomicFile(target) as file:
            for piece in self.stream(digest, size):
                file.file.write(piece)
                if advance:
                    advance(len(piece))
            file.publish()

    def has_blob(self, digest: Digest) -> bool:
        """True if the repository holds the blob."""
        try:
            self._request("HEAD", f"{self._base}/blobs/{digest}").close()
        except NotInRegistry:
            return False
        return True

    # -- writing -----------------------------------------------------------------------------------------------

    def upload(self, path: Path, media_type: str, advance: Advance | None = None) -> Descriptor:
        """Stores a file as a blob unless it is there already. Raises `RegistryError`."""
        descriptor = describe_file(path, media_type)
        if self.has_blob(descriptor.digest):
            return descriptor
        location = self._start_upload()
        with path.open("rb") as file:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)}
            body = _Counted(file, advance)
            self._request("PUT", _with_digest(location, descriptor.digest), headers=headers, data=body).close()
        return descriptor

    def upload_bytes(self, content: bytes, media_type: str) -> Descriptor:
        """As `upload`, for a few bytes."""
        descriptor = Descriptor(media_type, Digest.of(content), len(content))
        if not self.has_blob(descriptor.digest):
            headers = {"Content-Type": "application/octet-stream"}
            location = _with_digest(self._start_upload(), descriptor.digest)
            self._request("PUT", location, headers=headers, data=content).close()
        return descriptor

    def put_manifest(self, content: bytes, media_type: str, tag: str) -> Digest:
        """Stores a manifest under ``tag`` and returns its digest."""
        headers = {"Content-Type": media_type}
        self._request("PUT", f"{self._base}/manifests/{tag}", headers=headers, data=content).close()
        return Digest.of(content)

    def _start_upload(self) -> str:
        with self._request("POST", f"{self._base}/blobs/uploads/") as response:
            location = response.headers.get("Location", "")
        absolute = urljoin(self._base, location)
        if not location or urlsplit(absolute).scheme not in ("http", "https"):
            raise RegistryError(f"{self._base}: the registry opened an upload without saying where")
        return absolute

    # -- one request -------------------------------------------------------------------------------------------

    def _request(self, method: str, url: str, **options: Any) -> requests.Response:
        """The response, if it is good. Raises `NotInRegistry`, `RegistryError`."""
        response = self._attempts(method, url, **options)
        if response.status_code < 300:
            return response
        with response:
            what = f"{method} {url}: {response.status_code} {response.reason}"
            if response.status_code == 404:
                raise NotInRegistry(f"{what}: not in the registry")
            raise RegistryError(f"{what}: {_error_text(response)}".rstrip(": "))

    def _attempts(self, method: str, url: str, **options: Any) -> requests.Response:
        """The response to one of a few attempts: what could not be sent or met a passing trouble is sent again."""
        for delay in (*_RETRY_DELAYS_SECONDS, None):
            try:
                response = self._send(method, url, **options)
            except (requests.ConnectionError, requests.Timeout) as error:
                if delay is None or isinstance(error, requests.exceptions.SSLError):
                    raise RegistryError(f"{method} {url}: {error}") from error
            except (requests.RequestException, ValueError) as error:
                raise RegistryError(f"{method} {url}: {error}") from error
            else:
                if delay is None or response.status_code not in _PASSING:
                    return response
                response.close()
            time.sleep(delay)
        raise AssertionError("unreachable")

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        """The response, to a second request if the first was answered by a challenge that can be met."""
        for last in (False, True):
            if isinstance(options.get("data"), _Counted):
                options["data"].seek(0)
            headers = {**options.get("headers", {}), **self._authenticator.headers}
            response = self._session.request(method, url, verify=self._verify, **{**options, "headers": headers})
            if last or response.status_code != 401:
                break
            if not self._authenticator.answer(response, self._session, self._verify):
                break
            response.close()
        return response


class _Patience(HTTPAdapter):
    """Bounds how long a connection may take to open or say nothing; requests waits for ever by itself."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or _TIMEOUTS_SECONDS
        return super().send(*arguments, **options)


def describe_file(path: Path, media_type: str) -> Descriptor:
    """The OCI descriptor of a file's content."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Descriptor(media_type, Digest("sha256", digest), path.stat().st_size)


class _Counted:
    """A file that tells how much of it was read; requests sends it in pieces, with its length known."""

    def __init__(self, file: Any, advance: Advance | None) -> None:
        self._file = file
        self._advance = advance

    def __len__(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def read(self, count: int = -1) -> bytes:
        piece: bytes = self._file.read(count)
        if self._advance:
            self._advance(len(piece))
        return piece

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, *where: int) -> int:
        return int(self._file.seek(*where))


@contextmanager
def _speaking(base: str) -> Iterator[None]:
    """Turns what requests raises while a body arrives into `RegistryError`."""
    try:
        yield
    except requests.RequestException as error:
        raise RegistryError(f"{base}: {error}") from error


def _read_limited(response: requests.Response, limit_bytes: int) -> bytes:
    content = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        content += piece
        if len(content) > limit_bytes:
            raise LimitExceeded(f"{response.url}: more than {limit_bytes} bytes for a manifest")
    return bytes(content)


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _error_text(response: requests.Response) -> str:
    try:
        errors = response.json()["errors"]
        return "; ".join(f"{e.get('code')} {e.get('message', '')}".strip() for e in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
