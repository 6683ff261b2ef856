"""What the chart renders really starts: its pod's container from the image, then its `helm test`."""

from __future__ import annotations

import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.helm import Object, containers, pick, pod_specs, render, sidecar_config
from tests.packaging.image import RESTRICTED, BuiltImage, readable
from tests.support.fixtures import StartRegistry
from tests.support.process import free_port

pytestmark = [pytest.mark.integration, pytest.mark.slow]
USER, START_SECONDS = 65532, 60


@pytest.fixture
def rendered(start_registry: StartRegistry) -> list[Object]:
    """The chart in front of Debian's docker-registry; both run on this machine's network."""
    return render(
        config__upstream__url=start_registry("docker-registry").url,
        config__listen__address="127.0.0.1",
        config__listen__data_port=(data_port := free_port()),
        config__listen__control_port=free_port(),
        service__port=data_port,
        fullnameOverride="localhost",
    )


@pytest.fixture
def pod(image: BuiltImage, rendered: list[Object], tmp_path: Path) -> Iterator[Object]:
    """The sidecar's container, running as the pod's specification says."""
    spec = pod_specs(rendered)[0]
    main = next(one for one in containers(spec) if one["name"] == "reducto")
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "sidecar.yaml").write_text(sidecar_config(rendered))
    options = [
        f"--user={USER}:{USER}",
        "--name=pod",
        *volumes(main, spec, {"config": readable(folder)}),
        *environment(main),
    ]
    image.engine.docker("run", "--detach", *RESTRICTED, *options, image.tag, *main["args"])
    try:
        yield main
    finally:
        image.engine.docker("rm", "--force", "pod")


def volumes(main: Object, spec: Object, sources: dict[str, Path]) -> list[str]:
    """`docker run` options for a container's mounts: memory for every emptyDir, more than `spool.min_free`."""
    kinds = {volume["name"]: volume for volume in spec["volumes"]}
    options = []
    for mount in main["volumeMounts"]:
        if mount["name"] in sources:
            options.append(f"--volume={sources[mount['name']]}:{mount['mountPath']}:ro")
        elif mount["mountPath"] != "/tmp":
            assert "emptyDir" in kinds[mount["name"]]
            options.append(f"--tmpfs={mount['mountPath']}:mode=1777,size=2g")
    return options


def wait_until_answers(url: str) -> None:
    """Returns when a probe there would succeed; fails with the last answer."""
    deadline, last = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except urllib.error.HTTPError as error:
            last = error.read().decode()
        except OSError as error:
            last = str(error)
        time.sleep(0.2)
    pytest.fail(f"{url}: {last}")


def environment(main: Object) -> list[str]:
    return [f"--env={one['name']}={one['value']}" for one in main.get("env", [])]


def test_the_pod_becomes_ready_and_helm_test_passes(
    image: BuiltImage, rendered: list[Object], pod: Object, tmp_path: Path
) -> None:
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    for kind in ("startup", "liveness", "readiness"):
        probe = pod[f"{kind}Probe"]["httpGet"]
        url = f"http://127.0.0.1:{ports[probe['port']]}{probe['path']}"
        wait_until_answers(url)

    test = pick(rendered, "Pod")
    script = pick(rendered, "ConfigMap", f"{test['metadata']['name']}")
    folder = tmp_path / "test"
    folder.mkdir()
    (folder / "push_pull.py").write_text(script["data"]["push_pull.py"])
    (main,) = test["spec"]["containers"]
    options = (
        f"--entrypoint={main['command'][0]}",
        *volumes(main, test["spec"], {"test": readable(folder)}),
        *environment(main),
    )
    output = image.run(*main["command"][1:], *main["args"], options=options)
    assert output.count("pushed and pulled") == 2

    with urllib.request.urlopen(f"http://127.0.0.1:{ports['control']}/metrics", timeout=5) as answer:
        samples = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    assert float(samples["reducto_layer_stored_bytes_total"]) < float(samples["reducto_layer_wire_bytes_total"]) * 0.7


def test_the_pod_stops_when_asked(image: BuiltImage, pod: Object) -> None:
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    wait_until_answers(f"http://127.0.0.1:{ports['control']}/health/ready")
    image.engine.docker("stop", "--time=30", "pod")
    state = image.engine.docker("inspect", "--format={{.State.ExitCode}} {{.State.OOMKilled}}", "pod")
    assert shlex.split(state) == ["0", "false"]
