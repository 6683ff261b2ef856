"""The size of a registry after docker pushed the image series or ten nightly rebuilds, with and without the sidecar."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.data import dataset
from tests.bench.data.image_series import IMAGES
from tests.bench.data.nightly import NIGHTS
from tests.bench.plots import line_plot
from tests.bench.report import Report, benchmark
from tests.support.dockerd import DockerEngine
from tests.support.registries import Registry, collect_garbage, start_registry
from tests.support.sidecar import Sidecar

MANIFESTS = ", ".join(
    ["application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json"]
)
REPOSITORY = "team/app"
#: Recompression must not begin between two pushes, between which lies a push to the bare registry.
IDLE_AFTER = {"recompression": {"idle_after": "150s"}}
IDLE_LIMIT_SECONDS = 900
#: The metrics of work that a sidecar does when it is idle.
WAITING = ("reducto_recompression_waiting_corpora", "reducto_token_deltas_waiting_layers")


@dataclass
class Bench:
    """Two empty registries, a sidecar in front of the second, and a Docker engine with the images to push."""

    engine: DockerEngine
    bare: Registry
    upstream: Registry
    sidecar: Sidecar

    def push(self, host: str, image: str) -> None:
        """Pushes a loaded image to `REPOSITORY`, under its name as tag."""
        reference = f"{host}/{REPOSITORY}:{image}"
        self.engine.docker("tag", f"{image}:latest", reference)
        self.engine.docker("push", "--quiet", reference)


@contextmanager
def bench(archive: Path, settings: dict[str, object] | None = None) -> Iterator[Bench]:
    """Starts everything and loads the archive's images; stops and deletes everything at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="reducto-bench-", dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        bare = start_registry("docker-registry", folder / "bare")
        stack.callback(bare.daemon.stop)
        upstream = start_registry("docker-registry", folder / "upstream")
        stack.callback(upstream.daemon.stop)
        sidecar = stack.enter_context(Sidecar(folder / "sidecar", upstream.url, settings))
        engine = stack.enter_context(DockerEngine(folder / "docker"))
        engine.docker("load", "--input", archive)
        yield Bench(engine, bare, upstream, sidecar)


@benchmark("series", "Five images of one application: storage")
def series(report: Report) -> None:
    """A Debian base, a Python application on it and updates of both, pushed by docker with a sidecar and without."""
    with bench(dataset("image-series").ensure() / "images.tar", IDLE_AFTER) as running:
        rows, idle = push_all(running, IMAGES)
        layers = layer_growth(running)
    bare, reduced = (rows[-1][column] for column in (1, 2))
    report.table(
        "Storage after each push, MB",
        ["image", "bare registry", "behind the sidecar", "ratio"],
        [[image, b / 1e6, r / 1e6, r / b] for image, b, r in rows],
        note="Bytes of all files in the registry's storage folder, with records and manifests.",
    )
    report.table("Storage after idle recompression, MB", ["behind the sidecar", "ratio"], [[idle / 1e6, idle / bare]])
    report.table(
        "What each layer's push brought to the registry, MB",
        ["layer", "gzip", "instructions and new bytes", "ratio"],
        [[name, gz / 1e6, grown / 1e6, grown / gz] for name, gz, grown in layers],
    )
    report.at_most("bytes in the upstream after five pushes", reduced / bare, 0.50)
    report.at_most("bytes in the upstream after idle recompression", idle / bare, 0.45)
    shares = {name: grown / gz for name, gz, grown in layers}
    report.at_most("layer with six bumped dependencies, of its gzip size", shares["app-bumped:app"], 1 / 7)
    report.at_most("Python layer on the patched base, of its gzip size", shares["app-repatched:python"], 1 / 5)
    report.at_most("pure rebuild, of its gzip size", shares["app-repatched:app"], 0.005)


def push_all(running: Bench, images: Sequence[str]) -> tuple[list[tuple[str, int, int]], int]:
    """Pushes each image to both registries.

    Returns (image, bytes in the bare registry, bytes behind the sidecar) after each push, and the latter when idle.
    """
    rows = []
    for image in images:
        running.push(running.bare.host, image)
        running.push(running.sidecar.host, image)
        rows.append((image, running.bare.stored_bytes, running.upstream.stored_bytes))
        print(image, *(f"{each / 1e6:.4g}" for each in rows[-1][1:]), flush=True)
    return rows, when_idle(running)


def when_idle(running: Bench) -> int:
    """The upstream's bytes after all idle work was done and the garbage was collected."""
    wait_until_idle(running.sidecar)
    collect_garbage(running.upstream, "--delete-untagged")
    return running.upstream.stored_bytes


def wait_until_idle(sidecar: Sidecar) -> None:
    """Returns when the sidecar has done all idle work. Raises `TimeoutError` after `IDLE_LIMIT_SECONDS`."""
    deadline = time.monotonic() + IDLE_LIMIT_SECONDS
    while any((metrics := sidecar.metrics())[name] for name in WAITING):
        if time.monotonic() > deadline:
            raise TimeoutError(", ".join(f"{name} is {metrics[name]:.0f}" for name in WAITING))
        time.sleep(2)


def layer_growth(running: Bench) -> list[tuple[str, int, int]]:
    """The growth by each layer of the applications: (image:layer, gzip bytes, bytes that no earlier record named)."""
    wanted = {"app": ["python", "app"], "app-bumped": ["", "app"], "app-repatched": ["python", "app"]}
    grown, seen = [], set()
    for image in IMAGES:
        layers = manifest(running.sidecar.url, image)["layers"]
        names = wanted.get(image, ["", ""])
        for name, layer in zip(names, layers[-2:], strict=False):
            try:
                record = manifest(running.upstream.url, f"reducto-sha256-{layer['digest'][7:]}")
            except urllib.error.HTTPError:  # There is no record, because the layer was stored as it came.
                grown += [(f"{image}:{name}", layer["size"], layer["size"])] if name else []
                continue
            new = [each for each in record["layers"] if each["digest"] not in seen]
            seen |= {each["digest"] for each in record["layers"]}
            if name:
                overhead = len(json.dumps(record, separators=(",", ":")))
                grown.append((f"{image}:{name}", layer["size"], overhead + sum(each["size"] for each in new)))
    return grown


def manifest(url: str, tag: str, repository: str = REPOSITORY) -> dict[str, list[dict[str, str | int]]]:
    """The manifest with this tag, as a JSON object."""
    request = urllib.request.Request(f"{url}/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFESTS})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


@benchmark("nightly", "Ten nightly rebuilds: storage per night")
def nightly(report: Report) -> None:
    """Ten nightly rebuilds of an application, pushed by docker with a sidecar and without."""
    with bench(dataset("nightly").ensure() / "images.tar", IDLE_AFTER) as running:
        rows, idle = push_all(running, NIGHTS)
    labels = [str(number) for number in range(1, len(rows) + 1)]
    bare, reduced = ([row[column] / 1e6 for row in rows] for column in (1, 2))
    added = [0.0, *(after - before for before, after in itertools.pairwise(reduced))]
    report.table(
        "Storage per night, MB",
        ["night", "bare registry", "behind the sidecar", "added that night"],
        [list(row) for row in zip(labels, bare, reduced, added, strict=True)],
        note=f"After idle recompression: {idle / 1e6:.0f} MB.",
    )
    report.figure("storage after ten nights, bare", bare[-1], "MB")
    report.figure("storage after ten nights, through the sidecar", reduced[-1], "MB")
    report.figure("storage after ten nights and idle recompression", idle / 1e6, "MB")
    report.plot(
        "Registry storage over ten nights",
        "nightly.svg",
        line_plot("Registry storage over ten nights", labels, {"bare": bare, "behind the sidecar": reduced}, "MB"),
    )
