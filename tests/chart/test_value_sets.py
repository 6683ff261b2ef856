"""Every realistic value set passes lint, Kubernetes's schemas, pod security, and Reducto's configuration check."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from reducto.config import Role, load
from tests.chart.helm import (
    CHART,
    VALUE_SETS,
    Object,
    containers,
    helm,
    notes,
    pick,
    pod_specs,
    render,
    sidecar_config,
)
from tests.chart.kubernetes import KUBERNETES, validate

pytestmark = pytest.mark.integration
by_name = pytest.mark.parametrize("values", VALUE_SETS, ids=lambda path: path.stem.removesuffix("-values"))


def test_there_are_enough_value_sets() -> None:
    assert len(VALUE_SETS) > 10


@by_name
def test_lints(values: Path) -> None:
    done = helm("lint", "--strict", "--kube-version=1.34", "--values", values, CHART)
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


@by_name
@pytest.mark.parametrize("minor", KUBERNETES)
def test_objects_pass_kubernetes_schemas(values: Path, minor: str) -> None:
    objects = render("--values", values)
    assert len(objects) >= 2
    for one in objects:
        validate(one, minor)


def test_the_schemas_refuse_what_is_wrong() -> None:
    objects = render()
    workload = pick(objects, "Deployment")
    workload["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(jsonschema.ValidationError, match="livenessprobe"):
        validate(workload, "1.34")
    service = pick(objects, "Service", "release-reducto")
    service["spec"]["ports"][0]["port"] = "five"
    with pytest.raises(jsonschema.ValidationError):
        validate(service, "1.36")


@by_name
def test_configuration_passes_reductos_own_check(values: Path, tmp_path: Path) -> None:
    objects = render("--values", values)
    file = tmp_path / "sidecar.yaml"
    file.write_text(sidecar_config(objects))
    config = load(file, environment={}).config
    edge = any(one["kind"] == "DaemonSet" for one in objects)
    assert config.role is (Role.EDGE if edge else Role.ORIGIN)
    for spec in pod_specs(objects):
        _files_are_mounted(file.read_text(), spec)


def _files_are_mounted(text: str, spec: Object) -> None:
    """Each path in the configuration lies on a volume of the pod."""
    main = next((one for one in spec["containers"] if one["name"] == "reducto"), None)
    if main is None:
        return
    mounts = [mount["mountPath"] for mount in main["volumeMounts"]]
    volumes = {volume["name"] for volume in spec["volumes"]}
    claimed = {mount["name"] for mount in main["volumeMounts"]} - volumes
    assert claimed <= {"spool", "cache", "corpora"}
    for word in text.split():
        if word.startswith("/"):
            assert any(Path(word).is_relative_to(mount) for mount in mounts), word


@by_name
def test_pods_are_restricted(values: Path) -> None:
    for spec in pod_specs(render("--values", values)):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in containers(spec):
            if one["name"] in ("logs", "wait"):  # containers that the value set itself brings
                continue
            context = one["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert ("runAsUser" in context) == (one["name"] == "install-hosts")
            assert {"requests", "limits"} <= one["resources"].keys()


@by_name
def test_services_reach_only_pods_that_serve(values: Path) -> None:
    objects = render("--values", values)
    selectors = [one["spec"]["selector"] for one in objects if one["kind"] == "Service"]
    for one in objects:
        template = one.get("spec", {}).get("jobTemplate", {}).get("spec", one.get("spec", {})).get("template")
        if template is not None:
            labels = template["metadata"]["labels"].items()
            serves = one["kind"] in ("Deployment", "StatefulSet", "DaemonSet")
            assert all((selector.items() <= labels) is serves for selector in selectors)


@by_name
def test_notes_say_what_to_type_next(values: Path, tmp_path: Path) -> None:
    text = notes(tmp_path, "--values", values)
    assert "Reducto" in text
    assert any(word in text for word in ("helm test", "extraContainers:", "hosts.toml"))
    assert "%!" not in text
    assert "<no value>" not in text
