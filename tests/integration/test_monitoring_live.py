"""A real Prometheus reads a real sidecar under load: the metrics are valid and every panel has data."""

from __future__ import annotations

import json
import math
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.dashboard import queries
from tests.chart.generate import CHART
from tests.support.process import Daemon, answers, find_tool, free_port, run
from tests.support.registries import start_registry
from tests.support.requirements import require_registry, require_tool
from tests.support.sidecar import Sidecar

pytestmark = [pytest.mark.integration, pytest.mark.slow]
LOADS = 3
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Prometheus:
    """A Prometheus that reads one sidecar's metrics every second."""

    def __init__(self, folder: Path, target: str) -> None:
        require_tool("prometheus", "promtool")
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            f"rule_files: ['{CHART}/files/alerts.yaml']\n"
            f"scrape_configs: [{{job_name: reducto-control, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        self.url = f"http://127.0.0.1:{free_port()}"
        program = find_tool("prometheus")
        assert program is not None
        listen = f"--web.listen-address={self.url.removeprefix('http://')}"
        argv = [program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data", listen]
        self.daemon = Daemon(argv, folder / "prometheus.log", answers(f"{self.url}/-/ready"))

    def __enter__(self) -> Prometheus:
        self.daemon.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.daemon.stop()

    def query(self, promql: str) -> list[float]:
        """The values of all series that an instant query gives."""
        arguments = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{arguments}", timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success"
        return [float(series["value"][1]) for series in document["data"]["result"]]


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar in front of Debian's docker-registry."""
    require_registry("docker-registry")
    folder = tmp_path_factory.mktemp("live")
    registry = start_registry("docker-registry", folder / "registry")
    try:
        with Sidecar(folder / "sidecar", registry.url) as sidecar:
            yield sidecar
    finally:
        registry.daemon.stop()


def load(sidecar: Sidecar, name: str) -> None:
    """Pushes two versions of a layer, and pulls both from a cold and a warm cache."""
    run(sys.executable, CHART / "files" / "push_pull.py", sidecar.url, name)
    request = urllib.request.Request(f"{sidecar.url}/v2/{name}/manifests/v2", headers={"Accept": OCI_MANIFEST})
    with urllib.request.urlopen(request, timeout=30) as answer:
        layers = json.load(answer)["layers"]
    with urllib.request.urlopen(f"{sidecar.url}/v2/{name}/blobs/{layers[0]['digest']}", timeout=30) as answer:
        assert len(answer.read()) == layers[0]["size"]


def test_exposition_passes_promtool(sidecar: Sidecar) -> None:
    require_tool("promtool")
    load(sidecar, "exposition")
    with urllib.request.urlopen(f"http://{sidecar.control}/metrics", timeout=10) as answer:
        exposition = answer.read()
    assert run("promtool", "check", "metrics", stdin=exposition) == ""


def test_every_panel_has_data_after_a_load(sidecar: Sidecar, tmp_path: Path) -> None:
    with Prometheus(tmp_path / "prometheus", sidecar.control) as prometheus:
        for number in range(LOADS):
            load(sidecar, f"panels-{number}")
            time.sleep(2.5)  # long enough for Prometheus to read twice
        empty = [query for query in map(_instant, queries()) if not _numbers(prometheus.query(query))]
        assert empty == []
        assert prometheus.query("up") == [1.0]
        assert prometheus.query('ALERTS{alertname=~"Reducto.*"}') == []


def _instant(query: str) -> str:
    return query.replace("$__rate_interval", "1m")


def _numbers(values: list[float]) -> list[float]:
    """The values that a panel would draw. A histogram without samples gives NaN, which is not drawn."""
    return [value for value in values if math.isfinite(value)]
