"""Images on disk as one OCI image layout, and a client that pushes and pulls them one request after the other.

Docker and other clients send several layers at once, in an order that differs from run to run. This client sends one
blob after the other, so that two registries get exactly the same requests in the same order.
"""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_TAG = "org.opencontainers.image.ref.name"
_READ_BYTES = 1 << 20
_TIMEOUT_SECONDS = 900


class WrongAnswer(RuntimeError):
    """A registry answered with another status or other bytes than it must; the message says to what."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image of a layout: its manifest, and its blobs in the order in which they are pushed."""

    name: str
    media_type: str
    manifest: bytes
    blobs: tuple[str, ...]
    """Digests: the layers from the bottom up, then the config."""

    @property
    def digest(self) -> str:
        """The manifest's sha256, as registries write it."""
        return digest_of(self.manifest)


class ImageLayout:
    """A folder in the form of the OCI image layout specification, with one tagged manifest per image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob(self, digest: str) -> Path:
        """The path of a blob, whether or not the file exists yet."""
        return self.folder / "blobs" / digest.replace(":", "/")

    def images(self) -> list[StoredImage]:
        """All images in the order of ``index.json``. Raises `FileNotFoundError` if the folder is no layout."""
        index = json.loads((self.folder / "index.json").read_bytes())
        return [self._image(entry) for entry in index["manifests"]]

    def _image(self, entry: dict[str, Any]) -> StoredImage:
        raw = self.blob(entry["digest"]).read_bytes()
        return image_of(entry["annotations"][_TAG], entry["mediaType"], raw)

    def write(self, images: list[StoredImage]) -> None:
        """Adds manifests and ``index.json``; the images' blobs are there already."""
        for image in images:
            self.blob(image.digest).write_bytes(image.manifest)
        entries = [
            {
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": len(image.manifest),
                "annotations": {_TAG: image.name},
            }
            for image in images
        ]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        (self.folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def image_of(name: str, media_type: str, manifest: bytes) -> StoredImage:
    """The image that a manifest describes."""
    document = json.loads(manifest)
    layers = [layer["digest"] for layer in document["layers"]]
    return StoredImage(name, media_type, manifest, tuple(dict.fromkeys([*layers, document["config"]["digest"]])))


def digest_of(data: bytes) -> str:
    """The sha256 of some bytes, as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class SequentialClient:
    """Speaks to one repository of a registry without authentication. Every call returns after the last answer."""

    def __init__(self, host: str, repository: str) -> None:
        self._host = host
        self._repository = repository

    def manifest(self, tag: str) -> tuple[str, bytes]:
        """Media type and bytes of a tagged image manifest."""
        accept = {"Accept": f"{DOCKER_MANIFEST}, {OCI_MANIFEST}"}
        with closing(self._connect()) as connection:
            answer = self._ask(connection, "GET", self._path("manifests", tag), 200, accept)
            return answer.headers["Content-Type"], answer.read()

    def put_manifest(self, tag: str, media_type: str, manifest: bytes) -> None:
        """Stores a manifest, whose blobs are there, under a tag."""
        with closing(self._connect()) as connection:
            path = self._path("manifests", tag)
            self._ask(connection, "PUT", path, 201, {"Content-Type": media_type}, manifest).read()

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob: what clients ask before they push it."""
        with closing(self._connect()) as connection:
            connection.request("HEAD", self._path("blobs", digest))
            answer = connection.getresponse()
            answer.read()
        if answer.status not in (200, 404):
            raise WrongAnswer(f"HEAD of {digest}: {answer.status}")
        return answer.status == 200

    def blob(self, digest: str) -> Iterator[bytes]:
        """A blob's bytes as they arrive. Raises `WrongAnswer` at the end when they are not that blob's."""
        hasher = hashlib.sha256()
        with closing(self._connect()) as connection:
            answer = self._ask(connection, "GET", self._path("blobs", digest), 200)
            while piece := answer.read(_READ_BYTES):
                hasher.update(piece)
                yield piece
        if digest != f"sha256:{hasher.hexdigest()}":
            raise WrongAnswer(f"{digest} came back as sha256:{hasher.hexdigest()}")

    def open_upload(self) -> str:
        """Opens an upload session; returns its path."""
        with closing(self._connect()) as connection:
            return self._session(self._ask(connection, "POST", self._path("blobs", "uploads/"), 202))

    def append(self, session: str, content: Path | bytes) -> str:
        """Sends bytes in one PATCH; returns the path where the session goes on."""
        length = len(content) if isinstance(content, bytes) else content.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        with closing(self._connect()) as connection:
            if isinstance(content, bytes):
                return self._session(self._ask(connection, "PATCH", session, 202, headers, content))
            with content.open("rb") as body:
                return self._session(self._ask(connection, "PATCH", session, 202, headers, body))

    def finish(self, session: str, digest: str) -> None:
        """Ends an upload; returns when the registry has stored the blob."""
        with closing(self._connect()) as connection:
            joint = "&" if "?" in session else "?"
            path = f"{session}{joint}{urlencode({'digest': digest})}"
            self._ask(connection, "PUT", path, 201, {"Content-Length": "0"}).read()

    def cancel(self, session: str) -> None:
        """Drops an upload session."""
        with closing(self._connect()) as connection:
            self._ask(connection, "DELETE", session, 204).read()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, timeout=_TIMEOUT_SECONDS)

    def _path(self, kind: str, name: str) -> str:
        return f"/v2/{self._repository}/{kind}/{name}"

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        expected: int,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> http.client.HTTPResponse:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        if answer.status != expected:
            raise WrongAnswer(f"{method} {path}: {answer.status} {answer.read(2000).decode(errors='replace')}")
        return answer

    @staticmethod
    def _session(answer: http.client.HTTPResponse) -> str:
        answer.read()
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


def save_images(client: SequentialClient, names: list[str], layout: ImageLayout) -> None:
    """Pulls the images of these tags into a layout, each blob once."""
    images = [image_of(name, *client.manifest(name)) for name in names]
    for digest in dict.fromkeys(digest for image in images for digest in image.blobs):
        path = layout.blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            out.writelines(client.blob(digest))
    layout.write(images)
