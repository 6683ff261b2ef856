"""Compares what two versions of Reducto store for the five images of the series.

    python -m tests.bench.compare_stores OLD_REDUCTO NEW_REDUCTO [--images DIR] [--keep DIR]

``OLD_REDUCTO`` and ``NEW_REDUCTO`` are the ``reducto`` programs of two checkouts. Each one serves a store of its own in
a temporary folder, and both get the same requests in the same order:

1. every image is pushed, blob after blob, and pulled back;
2. after a restart every image is pulled out of the cache; store and cache as they are then are put aside;
3. after a restart the sidecar recompresses and makes token deltas until nothing waits any more;
4. after a restart with an empty cache every image is pulled back again.

Every pulled byte is checked against its digest. Then both stores (after 2 and after 3) and the hint files are compared
(`tests.bench.store_difference`): all bytes must be the same but times and signatures. Prints a line per image and what
differs; exits with 1 if anything does.

``--images`` is an OCI image layout with tagged images; without it docker makes one from the data set ``image-series``
when it is first needed (root, dockerd and docker-registry).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.data import dataset
from tests.bench.data.cache import data_root, say
from tests.bench.data.image_series import IMAGES
from tests.bench.image_layout import ImageLayout, SequentialClient, StoredImage, WrongAnswer, save_images
from tests.bench.store_difference import StoreContent, compare_caches, compare_stores, read_store
from tests.support.dockerd import DockerEngine
from tests.support.process import CommandFailed
from tests.support.registries import start_registry
from tests.support.sidecar import Sidecar

REPOSITORY = "team/app"
#: One encoder at a time, so that `push_blob` can hold it back; recompression begins only after the restart.
PUSHING: dict[str, Any] = {"limits": {"encodes": 1}, "recompression": {"idle_after": "12h"}}
IDLE: dict[str, Any] = {"recompression": {"idle_after": "1s"}}
PULLING: dict[str, Any] = {"recompression": {"enabled": False}}
IDLE_LIMIT_SECONDS = 3600
#: Starts of one sidecar, each on other ports.
ATTEMPTS = 5
WAITING = ("reducto_recompression_waiting_corpora", "reducto_token_deltas_waiting_layers")
#: Bytes of the upload that keeps the encoder busy: more than ``gate.min_blob_size``, below which nothing is encoded.
HOLDING = bytes(range(256)) * 256


@dataclass(frozen=True, slots=True)
class VersionRun:
    """The results of one version."""

    code: str
    """The file of the C kernel that served: which checkout it was."""
    pushed: Path
    """The store after the last push."""
    recompressed: Path
    """The store after idle recompression."""
    cache: Path
    """The local cache after the last push and pull, without the rebuilt blobs."""
    stored_bytes: list[int]
    """Bytes in the store after each image's push."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.compare_stores", description="Compares what two versions of Reducto store."
    )
    parser.add_argument("old", type=Path, metavar="OLD_REDUCTO", help="the reducto program of the old version")
    parser.add_argument("new", type=Path, metavar="NEW_REDUCTO", help="the reducto program of the new version")
    parser.add_argument("--images", type=Path, help="an OCI image layout; default: the image series")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave stores and logs in this new folder")
    arguments = parser.parse_args()
    layout = ImageLayout(arguments.images or series_layout())
    os.environ.pop("PYTHONPATH", None)  # or both programs would import the same checkout's modules
    with _work_folder(arguments.keep) as work:
        old = run_version(arguments.old.absolute(), layout, work / "old")
        new = run_version(arguments.new.absolute(), layout, work / "new")
        return report(layout.images(), old, new)


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="reducto-compare-", dir="/var/tmp") as name:
        yield Path(name)


# -- one version


def run_version(program: Path, layout: ImageLayout, folder: Path) -> VersionRun:
    """Pushes, pulls and recompresses with one version. Raises `WrongAnswer` when a pull gives other bytes."""
    store, sidecar_folder = folder / "store", folder / "sidecar"
    images, stored = layout.images(), []
    say(f"{program}")
    with serving(program, sidecar_folder, store, PUSHING) as sidecar:
        client = SequentialClient(sidecar.host, REPOSITORY)
        for image in images:
            started = time.monotonic()
            push(client, layout, image)
            stored.append(stored_bytes(store))
            say(f"  pushed {image.name} in {time.monotonic() - started:.0f} s: {stored[-1] / 1e6:.2f} MB in all")
        pull_all(client, images)
        code = kernel_file(sidecar.daemon.pid)
    # A layer that is still being rebuilt when the hints are saved is left out of them until it is served once more.
    with serving(program, sidecar_folder, store, PUSHING) as sidecar:
        pull_all(SequentialClient(sidecar.host, REPOSITORY), images)
    pushed, cache = folder / "store-pushed", folder / "cache-pushed"
    shutil.copytree(store, pushed, copy_function=os.link)
    shutil.copytree(sidecar_folder / "cache", cache, copy_function=os.link, ignore=shutil.ignore_patterns("blobs"))
    with serving(program, sidecar_folder, store, IDLE) as sidecar:
        wait_until_idle(sidecar)
    say(f"  recompressed: {stored_bytes(store) / 1e6:.2f} MB")
    with serving(program, folder / "sidecar-empty", store, PULLING) as sidecar:
        pull_all(SequentialClient(sidecar.host, REPOSITORY), images)
    return VersionRun(code, pushed, store, cache, stored)


@contextmanager
def serving(program: Path, folder: Path, store: Path, settings: dict[str, Any]) -> Iterator[Sidecar]:
    """``program serve`` on free ports before an embedded store. Raises `RuntimeError` if it does not end in order."""
    sidecar = started(program, folder, store, settings)
    try:
        yield sidecar
        code = sidecar.daemon.stop(within_seconds=120)  # it writes its hint files as it stops
        if code != 0:
            raise RuntimeError(f"{program} ended with {code}:\n{sidecar.log[-4000:]}")
    finally:
        sidecar.daemon.stop()


def started(program: Path, folder: Path, store: Path, settings: dict[str, Any]) -> Sidecar:
    """A sidecar that answers on ports of its own. Raises `RuntimeError` if there is none after some attempts.

    Another process of the machine may take a port between the moment when it was free and the sidecar's start; then
    that process would answer in the sidecar's place.
    """
    for _ in range(ATTEMPTS):
        sidecar = Sidecar(folder, str(store), settings)
        sidecar.daemon.argv[0] = str(program)
        with suppress(CommandFailed):
            sidecar.daemon.start()
            if listens_itself(sidecar):
                return sidecar
        sidecar.daemon.stop()
    raise RuntimeError(f"{program} did not start:\n{sidecar.log[-4000:]}")


def listens_itself(sidecar: Sidecar) -> bool:
    """Whether the sidecar's process has both its ports open within a minute; False as soon as it has ended."""
    ports = {int(host.rpartition(":")[2]) for host in (sidecar.host, sidecar.control)}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            links = [os.readlink(each) for each in Path(f"/proc/{sidecar.daemon.pid}/fd").iterdir()]
        except OSError:  # it has ended, or closed a file meanwhile
            links = []
        if ports <= {port for port, inode in listening_sockets() if f"socket:[{inode}]" in links}:
            return True
        if not Path(f"/proc/{sidecar.daemon.pid}/maps").read_text():  # a process that has ended maps nothing
            return False
        time.sleep(0.1)
    return False


def listening_sockets() -> list[tuple[int, str]]:
    """Port and inode of every TCP socket (IPv4) of this machine on which somebody accepts connections."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [(int(row[1].rpartition(":")[2], 16), row[9]) for row in rows if row[3] == "0A"]


def push(client: SequentialClient, layout: ImageLayout, image: StoredImage) -> None:
    """Pushes what the repository lacks of an image, then its manifest under its name."""
    for digest in image.blobs:
        if not client.has_blob(digest):
            push_blob(client, digest, layout.blob(digest))
    client.put_manifest(image.name, image.media_type, image.manifest)


def push_blob(client: SequentialClient, digest: str, content: Path) -> None:
    """Pushes one blob in such a way that its encoder always reads the same pieces.

    A sidecar encodes while bytes arrive, and the receipt's score depends on how many of them the encoder had read when
    it decided. Here another upload, which is then cancelled, keeps the only encoder busy until the whole blob is there.
    """
    holding = client.append(client.open_upload(), HOLDING)
    session = client.append(client.open_upload(), content)
    client.cancel(holding)
    client.finish(session, digest)


def pull_all(client: SequentialClient, images: list[StoredImage]) -> None:
    """Pulls every image. Raises `WrongAnswer` when a manifest or a blob is not what was pushed."""
    for image in images:
        if client.manifest(image.name) != (image.media_type, image.manifest):
            raise WrongAnswer(f"the manifest of {image.name} came back changed")
        for digest in image.blobs:
            for _ in client.blob(digest):
                pass


def wait_until_idle(sidecar: Sidecar) -> None:
    """Returns when no corpus waits for recompression and no layer for its token delta."""
    deadline = time.monotonic() + IDLE_LIMIT_SECONDS
    while any((metrics := sidecar.metrics())[name] for name in WAITING):
        if time.monotonic() > deadline:
            raise TimeoutError(", ".join(f"{name} is {metrics[name]:.0f}" for name in WAITING))
        time.sleep(1)


def kernel_file(pid: int) -> str:
    """The compiled kernel that a process has mapped. Raises `RuntimeError` if it has none."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/_kernel" in line:
            return line.split(maxsplit=5)[5]
    raise RuntimeError(f"process {pid} has loaded no kernel")


def stored_bytes(store: Path) -> int:
    """Bytes of all files below a folder, each inode once."""
    statuses = [path.stat() for path in store.rglob("*") if path.is_file()]
    return sum({status.st_ino: status.st_size for status in statuses}.values())


# -- both versions


def report(images: list[StoredImage], old: VersionRun, new: VersionRun) -> int:
    """Prints a line per image and every difference; returns the exit code."""
    differences = {
        "after the pushes": compare_stores(old.pushed, new.pushed),
        "after recompression": compare_stores(old.recompressed, new.recompressed),
        "in the cache": compare_caches(old.cache, new.cache),
    }
    found = [each for part in differences.values() for each in part]
    stores = {"after the pushes": (old.pushed, new.pushed), "after recompression": (old.recompressed, new.recompressed)}
    contents = {when: [read_store(store) for store in both] for when, both in stores.items()}
    for image, before, after in zip(images, old.stored_bytes, new.stored_bytes, strict=True):
        reached = set().union(*(reached_from(image, content) for both in contents.values() for content in both))
        count = sum(bool(reached & words_of(each.name)) for each in found)
        verdict = f"{count} DIFFERENCES" if count else "identical"
        print(f"{image.name:16} {len(image.blobs) - 1} layers, {before} and {after} bytes stored so far: {verdict}")
    for when, part in differences.items():
        for each in part:
            print(f"DIFFERS {when}: {each}")
    for when, both in contents.items():
        counts = [f"{len(each.documents)} documents and {len(each.files)} other files" for each in both]
        print(f"{when}: {counts[0]} in the old store, {counts[1]} in the new")
    print(f"the old code is {old.code}, the new {new.code}")
    print(f"{len(found)} differences" if found else "identical but for times and signatures")
    return 1 if found else 0


def reached_from(image: StoredImage, content: StoreContent) -> set[str]:
    """The image's tag, and hex digests of its manifest, its blobs and all that its records in a store name."""
    words = {image.name} | {digest.partition(":")[2] for digest in (*image.blobs, image.digest)}
    for name, document in content.documents.items():
        if image.name in words_of(name):
            words |= set(re.findall(r"[0-9a-f]{64}", repr(document.masked.value)))
    return words


def words_of(name: str) -> set[str]:
    """Tags and hex digests in the name of a difference or a document."""
    return {*re.split(r"[ ,]", name), *re.findall(r"[0-9a-f]{64}", name)}


def series_layout() -> Path:
    """The five images of the series as docker pushes them, made when first needed."""
    folder = data_root() / "image-series-layout"
    if folder.is_dir():
        return folder
    archive = dataset("image-series").ensure() / "images.tar"
    say(f"building {folder}")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="reducto-compare-", dir="/var/tmp") as name:
        registry = start_registry("docker-registry", Path(name) / "registry")
        try:
            with DockerEngine(Path(name) / "docker") as engine:
                engine.docker("load", "--input", archive)
                for image in IMAGES:
                    reference = f"{registry.host}/{REPOSITORY}:{image}"
                    engine.docker("tag", f"{image}:latest", reference)
                    engine.docker("push", "--quiet", reference)
            save_images(SequentialClient(registry.host, REPOSITORY), list(IMAGES), ImageLayout(partial))
        finally:
            registry.daemon.stop()
    partial.rename(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
