"""The embedded store on disk: one OCI image layout per repository, blobs shared by hard links.

    <root>/<repository>/_oci/oci-layout, index.json, blobs/<algorithm>/<hex>   (image-spec, image-layout.md)
    <root>/<repository>/_oci/referrers/<subject hex>/<hex>                     a referrer's descriptor
    <root>/_pool/<algorithm>/<hex>                                             the same file, for other repositories

No component of a repository's name can begin with an underscore, so these names are free. Any OCI tool can read a
repository (``skopeo inspect oci:<root>/<repository>/_oci:<tag>``). Changes to ``index.json`` are made under a file
lock, so that several processes may share a store. Everything here blocks, so it is called on disk workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reducto.files import link_or_copy, move, sync_directory, sync_file, write_atomically
from reducto.oci.manifest import OCI_INDEX, digests_in
from reducto.oci.names import Reference, RepositoryName, Tag
from reducto.values import Descriptor, Digest

_TAG_KEY = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class ImageLayout:
    """The files of the store. All methods may be called by several threads and several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pool = root / "_pool"
        self.pool.mkdir(parents=True, exist_ok=True)

    # -- repositories

    def repositories(self) -> list[str]:
        """The names of all repositories that hold a manifest, in lexical order."""
        names = []
        for folder, subfolders, _ in os.walk(self.root):
            if "_oci" in subfolders:
                name = os.path.relpath(folder, self.root).replace(os.sep, "/")
                if self._entries(RepositoryName(name)):
                    names.append(name)
            subfolders[:] = [name for name in subfolders if not name.startswith("_")]
        return sorted(names)

    def exists(self, repository: RepositoryName) -> bool:
        """Whether anything was ever stored in the repository."""
        return (self._home(repository) / "oci-layout").exists()

    # -- blobs

    def blob(self, repository: RepositoryName, digest: Digest) -> Path | None:
        """The blob's file; None when the repository does not hold the blob."""
        path = self._blob_path(repository, digest)
        return path if path.is_file() else None

    def add_blob(self, repository: RepositoryName, digest: Digest, source: Path) -> None:
        """Stores the file ``source`` as a blob and removes it. The caller has checked that its digest is ``digest``."""
        sync_file(source)
        pooled = self.pool / digest.algorithm / digest.hex
        pooled.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, pooled)
        except FileExistsError:
            if pooled.stat().st_size != source.stat().st_size:
                move(source, pooled)  # replaces a damaged file of the pool by what was pushed again
                source = pooled
        except OSError:
            pass  # The file system has no hard links, so repositories cannot share the blob's bytes.
        self._ensure(repository)
        target = self._blob_path(repository, digest)
        link_or_copy(pooled if pooled.exists() else source, target)
        if source != pooled:
            source.unlink(missing_ok=True)
        sync_directory(target.parent)

    def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName) -> bool:
        """Links a blob of the repository ``source`` into ``repository``; False when ``source`` does not hold it."""
        path = self.blob(source, digest)
        if path is None:
            return False
        self._ensure(repository)
        target = self._blob_path(repository, digest)
        link_or_copy(path, target)
        sync_directory(target.parent)
        return True

    def delete_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Removes a blob from the repository, and from the disk when no other repository holds it.

        Returns False when the repository does not hold the blob.
        """
        try:
            self._blob_path(repository, digest).unlink()
        except FileNotFoundError:
            return False
        pooled = self.pool / digest.algorithm / digest.hex
        with contextlib.suppress(FileNotFoundError):
            if pooled.stat().st_nlink == 1:
                pooled.unlink()
        return True

    # -- manifests

    def put_manifest(
        self,
        repository: RepositoryName,
        manifest: Descriptor,
        data: bytes,
        tag: Tag | None,
        subject: Digest | None,
        referrer: dict[str, Any] | None,
    ) -> None:
        """Stores the manifest ``data``, tags it, and lists it among the referrers of its subject.

        ``referrer`` is the descriptor that a referrers listing shows for it.
        """
        self._ensure(repository)
        home = self._home(repository)
        write_atomically(self._blob_path(repository, manifest.digest), data)
        if subject is not None:
            marker = home / "referrers" / subject.hex / manifest.digest.hex
            write_atomically(marker, json.dumps(referrer).encode())

        def change(entries: list[dict[str, Any]]) -> None:
            plain = manifest.to_json()
            if tag is not None:
                entries[:] = [entry for entry in entries if _tag_of(entry) != tag.name]
                entries.append({**plain, "annotations": {_TAG_KEY: tag.name}})
            elif not any(entry["digest"] == plain["digest"] for entry in entries):
                entries.append(plain)

        self._change(repository, change)

    def resolve(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        """The descriptor of the manifest that a tag or digest names; None when there is none."""
        for entry in self._entries(repository):
            if isinstance(reference, Digest):
                found = entry["digest"] == str(reference)
            else:
                found = _tag_of(entry) == reference.name
            if found:
                return Descriptor(entry["mediaType"], Digest.parse(entry["digest"]), entry["size"])
        return None

    def tags(self, repository: RepositoryName) -> list[str]:
        """All tags of the repository in lexical order."""
        return sorted({tag for entry in self._entries(repository) if (tag := _tag_of(entry)) is not None})

    def referrers(self, repository: RepositoryName, subject: Digest) -> list[dict[str, Any]]:
        """The descriptors of the manifests whose subject is ``subject``, as `put_manifest` got them."""
        folder = self._home(repository) / "referrers" / subject.hex
        found = []
        for marker in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not marker.name.startswith("."):
                found.append(json.loads(marker.read_bytes()))
        return found

    def delete_tag(self, repository: RepositoryName, tag: Tag) -> bool:
        """Removes a tag; its manifest stays. Returns False when there is no such tag."""
        found = self.resolve(repository, tag)
        if found is None:
            return False

        def change(entries: list[dict[str, Any]]) -> None:
            entries[:] = [entry for entry in entries if _tag_of(entry) != tag.name]
            if not any(entry["digest"] == str(found.digest) for entry in entries):
                entries.append(found.to_json())

        self._change(repository, change)
        return True

    def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Removes a manifest with all its tags. Returns False when there is no such manifest."""
        found = self.resolve(repository, digest)
        if found is None:
            return False

        def change(entries: list[dict[str, Any]]) -> None:
            entries[:] = [entry for entry in entries if entry["digest"] != str(digest)]

        self._change(repository, change)
        for marker in (self._home(repository) / "referrers").glob(f"*/{digest.hex}"):
            marker.unlink(missing_ok=True)
        self.delete_blob(repository, digest)
        return True

    def sweep(self, grace_seconds: float, dry_run: bool = False) -> int:
        """Removes blobs that no manifest names and that are older than ``grace_seconds``; returns their total bytes."""
        freed = 0
        oldest = time.time() - grace_seconds
        for name in self.repositories():
            repository = RepositoryName(name)
            live = self._live(repository)
            for path in (self._home(repository) / "blobs").glob("*/*"):
                if path.name in live or path.stat().st_mtime > oldest:
                    continue
                freed += path.stat().st_size
                if not dry_run:
                    self.delete_blob(repository, Digest(path.parent.name, path.name))
        return freed

    # -- inside

    def _home(self, repository: RepositoryName) -> Path:
        return self.root / repository.name / "_oci"

    def _blob_path(self, repository: RepositoryName, digest: Digest) -> Path:
        return self._home(repository) / "blobs" / digest.algorithm / digest.hex

    def _ensure(self, repository: RepositoryName) -> None:
        home = self._home(repository)
        for algorithm in ("sha256", "sha512"):
            (home / "blobs" / algorithm).mkdir(parents=True, exist_ok=True)
        if not (home / "oci-layout").exists():
            write_atomically(home / "oci-layout", _LAYOUT)

    def _entries(self, repository: RepositoryName) -> list[dict[str, Any]]:
        try:
            document = json.loads((self._home(repository) / "index.json").read_bytes())
        except FileNotFoundError:
            return []
        entries: list[dict[str, Any]] = document["manifests"]
        return entries

    def _change(self, repository: RepositoryName, change: Callable[[list[dict[str, Any]]], None]) -> None:
        with _locked(self._home(repository) / ".lock"):
            entries = self._entries(repository)
            change(entries)
            document = {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": entries,
            }
            write_atomically(self._home(repository) / "index.json", json.dumps(document).encode())

    def _live(self, repository: RepositoryName) -> set[str]:
        """The hex digests of the repository's manifests, and of everything that they name."""
        live: set[str] = set()
        for entry in self._entries(repository):
            digest = Digest.parse(entry["digest"])
            live.add(digest.hex)
            path = self.blob(repository, digest)
            # Whatever a manifest of whatever kind names stays, also where nothing here knows what it means.
            live.update(named.hex for named in digests_in(path.read_bytes() if path else b""))
        return live


def _tag_of(entry: dict[str, Any]) -> str | None:
    tag = entry.get("annotations", {}).get(_TAG_KEY)
    return tag if isinstance(tag, str) else None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
