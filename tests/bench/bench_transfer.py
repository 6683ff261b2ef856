"""Times of docker push and pull through the sidecar, compared with the registry alone, also over a slow link."""

from __future__ import annotations

import hashlib
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.bench_series import REPOSITORY, manifest, wait_until_idle
from tests.bench.data import dataset
from tests.bench.report import Report, benchmark
from tests.support.clients import CLIENTS
from tests.support.dockerd import DockerEngine
from tests.support.process import run
from tests.support.registries import Registry, start_registry
from tests.support.shaped_link import ShapedLink
from tests.support.sidecar import Sidecar

ROUNDS = 3
#: Pairs of an image that is pushed first and an update that is timed: one with bumped dependencies, one on a patched
#: base.
UPDATES = (("app", "app-bumped"), ("base-patched", "app-repatched"))

#: The older images: last week's application, and the patched base.
OLDER = [known for known, _ in UPDATES]


def reference(host: str, image: str) -> str:
    return f"{host}/{REPOSITORY}:{image}"


def push(engine: DockerEngine, host: str, image: str) -> float:
    """Runs ``docker push`` and returns the seconds."""
    engine.docker("tag", f"{image}:latest", reference(host, image))
    return timed(lambda: engine.docker("push", "--quiet", reference(host, image)))


def timed(action: Callable[[], Any]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


@contextmanager
def pushed_series(engine: DockerEngine) -> Iterator[tuple[Registry, Sidecar, list[list[float]]]]:
    """A bare registry, a sidecar with another registry, and the seconds of each update that was pushed to both."""
    with tempfile.TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        bare, upstream = (start_registry("docker-registry", folder / each) for each in ("bare", "upstream"))
        stack.callback(bare.daemon.stop)
        stack.callback(upstream.daemon.stop)
        sidecar = stack.enter_context(Sidecar(folder / "sidecar", upstream.url))
        seconds = []
        for known, update in UPDATES:
            push(engine, bare.host, known)
            push(engine, sidecar.host, known)
            seconds.append([push(engine, bare.host, update), push(engine, sidecar.host, update)])
        yield bare, sidecar, seconds


def forget_images(engine: DockerEngine, host: str, image: str) -> None:
    """Removes every image from the pulling engine."""
    images = engine.docker("images", "--all", "--quiet").split()
    if images:
        engine.docker("rmi", "--force", *dict.fromkeys(images))


def pull(engine: DockerEngine, host: str, image: str) -> float:
    """The seconds of ``docker pull`` by an engine without any image."""
    forget_images(engine, host, image)
    return timed(lambda: engine.docker("pull", "--quiet", reference(host, image)))


def forget_cache(sidecar: Sidecar) -> None:
    """Restarts the sidecar with an empty disk, as a new pod has it."""
    sidecar.daemon.stop()
    for name in ("cache", "spool", "corpora"):
        shutil.rmtree(sidecar.folder / name, ignore_errors=True)
    sidecar.daemon.start()


def first_byte(sidecar: Sidecar, image: str) -> tuple[float, int]:
    """Milliseconds until the first byte of the image's largest layer arrives, and the layer's length in bytes."""
    layer = max(manifest(sidecar.url, image)["layers"], key=lambda each: int(each["size"]))
    started = time.monotonic()
    with urllib.request.urlopen(f"{sidecar.url}/v2/{REPOSITORY}/blobs/{layer['digest']}", timeout=120) as answer:
        answer.read(1)
        milliseconds = (time.monotonic() - started) * 1000
        while answer.read(1 << 20):
            pass
    return milliseconds, int(layer["size"])


@contextmanager
def engines(*names: str) -> Iterator[list[DockerEngine]]:
    """Starts Docker engines, of which the first has the images of the series."""
    with tempfile.TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as folder, ExitStack() as stack:
        started = [stack.enter_context(DockerEngine(Path(folder) / name)) for name in names]
        started[0].docker("load", "--input", dataset("image-series").ensure() / "images.tar")
        yield started


@benchmark("transfer", "docker push: time")
def transfer(report: Report) -> None:
    """`docker push` of an image's update through a sidecar, beside the same push to the bare registry."""
    pushes: list[list[list[float]]] = []
    with engines("builder") as (builder,):
        for _ in range(ROUNDS):
            # The registries are new in each round, because docker remembers where it pushed a layer and would not send
            # it there again.
            with pushed_series(builder) as (_bare, _sidecar, seconds):
                pushes.append(seconds)
                print(*(f"{each:.4g}" for pair in seconds for each in pair), flush=True)
    _report_pushes(report, pushes)


@benchmark("pull", "docker pull: time")
def pulling(report: Report) -> None:
    """`docker pull` of a whole image through a sidecar with an empty cache and a full one, beside the bare registry."""
    pulls: list[list[float]] = []
    first: list[tuple[float, int]] = []
    with engines("builder", "node") as (builder, node), pushed_series(builder) as (bare, sidecar, _seconds):
        for _ in range(ROUNDS):
            for _known, update in UPDATES:
                forget_cache(sidecar)
                cold = pull(node, sidecar.host, update)
                pulls.append([pull(node, bare.host, update), cold, pull(node, sidecar.host, update)])
                print(*(f"{each:.4g}" for each in pulls[-1]), flush=True)
            forget_cache(sidecar)
            first.append(first_byte(sidecar, "app-bumped"))
    _report_pulls(report, pulls)
    milliseconds, length = (statistics.median(column) for column in zip(*first, strict=True))
    report.at_most(f"first byte of a cold layer of {length / 1e6:.0f} MB", milliseconds, 100, "ms")


def _report_pushes(report: Report, rounds: list[list[list[float]]]) -> None:
    rows, ratios = [], []
    for number, (known, update) in enumerate(UPDATES):
        bare, through = (statistics.median(each[number][column] for each in rounds) for column in (0, 1))
        ratios.append(through / bare)
        rows.append([f"{update}, after {known}", bare, through, through / bare])
    report.table(f"docker push, median of {ROUNDS}, s", ["image", "bare", "through the sidecar", "ratio"], rows)
    report.at_most("docker push through the sidecar", statistics.mean(ratios), 1.5)


def _report_pulls(report: Report, pulls: list[list[float]]) -> None:
    rows, cold_ratios, warm_ratios = [], [], []
    for number, (_known, update) in enumerate(UPDATES):
        bare, cold, warm = (
            statistics.median(row[column] for row in pulls[number :: len(UPDATES)]) for column in range(3)
        )
        cold_ratios.append(cold / bare)
        warm_ratios.append(warm / bare)
        rows.append([update, bare, cold, cold / bare, warm, warm / bare])
    report.table(
        f"docker pull of a whole image, median of {ROUNDS}, s",
        ["image", "bare", "cold", "ratio", "warm", "ratio "],
        rows,
        note="Cold means a new sidecar with an empty disk. Times include docker's unpacking.",
    )
    report.at_most("cold docker pull", statistics.mean(cold_ratios), 1.6)
    report.at_most("warm docker pull", statistics.mean(warm_ratios), 1.1)


def fetch_new(url: str, known: str | None, update: str, repository: str = REPOSITORY) -> None:
    """Fetches all layers of ``update`` that ``known`` lacks (None: all layers), three at a time as docker does."""
    present = {layer["digest"] for layer in manifest(url, known, repository)["layers"]} if known else set()
    new = [layer for layer in manifest(url, update, repository)["layers"] if layer["digest"] not in present]

    def fetch(layer: dict[str, Any]) -> None:
        digest = hashlib.sha256()
        with urllib.request.urlopen(f"{url}/v2/{repository}/blobs/{layer['digest']}", timeout=600) as answer:
            while piece := answer.read(1 << 20):
                digest.update(piece)
        assert f"sha256:{digest.hexdigest()}" == layer["digest"]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(fetch, new))


def _serve_again(edge: Sidecar, images: Sequence[str], repository: str = REPOSITORY) -> None:
    """Brings the edge into the state after pulls of these images, with nothing else in its cache."""
    forget_cache(edge)
    for image in images:
        fetch_new(edge.url, None, image, repository)


def _new_layers(
    urls: Sequence[str], edge: Sidecar, served: Sequence[str], known: str, update: str, repository: str
) -> list[float]:
    """Median seconds of fetching the layers that the update adds, by URL. The edge has served the images ``served``."""
    seconds: list[list[float]] = []
    for _ in range(ROUNDS):
        _serve_again(edge, served, repository)
        seconds.append([timed(partial(fetch_new, url, known, update, repository)) for url in urls])
    return [statistics.median(column) for column in zip(*seconds, strict=True)]


def _by_docker(node: DockerEngine, bare: Registry, edge: Sidecar, known: str, update: str) -> list[float]:
    """Seconds of ``docker pull`` of the update by an engine that has the older image."""
    _serve_again(edge, OLDER)
    seconds = []
    for host in (bare.host, edge.host, edge.host):
        pull(node, host, known)
        seconds.append(timed(lambda host=host: node.docker("pull", "--quiet", reference(host, update))))
    return seconds


def _by_skopeo(folder: Path, bare: Registry, edge: Sidecar, known: str, update: str) -> list[float]:
    """Median seconds of ``skopeo copy`` of the update into an OCI layout that has the older image."""
    rounds: list[list[float]] = []
    for number in range(ROUNDS):
        _serve_again(edge, OLDER)
        rounds.append([])
        for host in (bare.host, edge.host, edge.host):
            layout = folder / f"layout-{number}-{len(rounds[-1])}"
            _skopeo_copy(host, known, layout)
            rounds[-1].append(timed(partial(_skopeo_copy, host, update, layout)))
            shutil.rmtree(layout)
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def _skopeo_copy(host: str, image: str, layout: Path) -> None:
    source = f"docker://{reference(host, image)}"
    run("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", source, f"oci:{layout}:{image}")


def _push_as_others(builder: DockerEngine, hosts: Sequence[str], folder: Path) -> dict[str, str]:
    """Pushes the images as other tools compress them; returns repository -> names of the tools that compress so."""
    found, archives = {}, {}
    for image in UPDATES[0]:
        archives[image] = folder / f"{image}.tar"
        builder.docker("save", "--output", archives[image], f"{image}:latest")
    for tool, what in (("skopeo", "skopeo, podman, buildah"), ("crane", "crane, ko, kaniko")):
        client, repository = CLIENTS[tool](folder / tool), f"team/{tool}"
        found[repository] = what
        for host in hosts:
            for image, archive in archives.items():
                client.push(archive, f"{host}/{repository}:{image}")
    return found


@benchmark("slow-link", "Pulling an updated image over 100 Mbit/s")
def slow_link(report: Report) -> None:
    """An image's update pulled over 100 Mbit/s through a sidecar beside the node that has served the older image."""
    layers: list[list[Any]] = []
    copies: list[list[Any]] = []
    pulls: list[list[Any]] = []
    with tempfile.TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        link = stack.enter_context(ShapedLink(100))
        bare, upstream = (
            start_registry("docker-registry", folder / each, address=link.address, enter=link.enter)
            for each in ("bare", "upstream")
        )
        stack.callback(bare.daemon.stop)
        stack.callback(upstream.daemon.stop)
        open_to = [bare.host, upstream.host]
        others = {}
        quiet = {"recompression": {"idle_after": "3s"}}
        with (
            DockerEngine(folder / "builder", open_to) as builder,
            Sidecar(folder / "origin", upstream.url, quiet) as origin,
        ):
            builder.docker("load", "--input", dataset("image-series").ensure() / "images.tar")
            for image in OLDER + [update for _, update in UPDATES]:
                push(builder, bare.host, image)
                push(builder, origin.host, image)
            others = _push_as_others(builder, [bare.host, origin.host], folder)
            wait_until_idle(origin)
        # The node's own sidecar has the older image, as after last week's pull.
        edge = stack.enter_context(Sidecar(folder / "edge", upstream.url, {"role": "edge"}))
        urls = (bare.url, edge.url, edge.url)
        for known, update in UPDATES:
            seconds = _new_layers(urls, edge, OLDER, known, update, REPOSITORY)
            layers.append([f"{known} -> {update}", "docker", *seconds])
        for repository, what in others.items():
            known, update = UPDATES[0]
            layers.append([f"{known} -> {update}", what, *_new_layers(urls, edge, [known], known, update, repository)])
        for known, update in UPDATES:
            copies.append([f"{known} -> {update}", *_by_skopeo(folder, bare, edge, known, update)])
        node = stack.enter_context(DockerEngine(folder / "node", open_to))
        for known, update in UPDATES:
            pulls.append([f"{known} -> {update}", *_by_docker(node, bare, edge, known, update)])
    columns = ["bare registry", "edge, cold", "edge, warm", "times faster, cold", "times faster, warm"]
    report.table(
        f"The layers that an update adds, side by side, median of {ROUNDS}, s",
        ["update", "layers of", *columns],
        [[*row, row[2] / row[3], row[2] / row[4]] for row in layers],
        note="The registry is behind a link of 100 Mbit/s. The sidecar runs beside the node and has served the older "
        "images. The origin was idle after the pushes. Warm means that another node has pulled the update before.",
    )
    report.table(
        f"skopeo copy of the update into a layout that holds the older image, median of {ROUNDS}, s",
        ["update", *columns],
        [[*row, row[1] / row[2], row[1] / row[3]] for row in copies],
        note="skopeo stores what it pulls and unpacks nothing. The layers are docker's.",
    )
    report.table(
        "docker pull of the update, s",
        ["update", *columns],
        [[*row, row[1] / row[2], row[1] / row[3]] for row in pulls],
        note="Times include docker's unpacking, which does not depend on the link.",
    )
    for what in dict.fromkeys(row[1] for row in layers):
        slowest = min(row[2] / row[3] for row in layers if row[1] == what)
        report.at_least(f"pull of an updated image over 100 Mbit/s, layers of {what}", slowest, 4)
    report.at_least(
        "pull of an updated image over 100 Mbit/s by skopeo copy", min(row[1] / row[2] for row in copies), 4
    )
    slowest = min(row[1] / row[2] for row in pulls)
    report.at_least("pull of an updated image over 100 Mbit/s by docker pull, with its unpacking", slowest, 4)
