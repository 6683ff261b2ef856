"""`values.yaml` documents every value, unknown values are refused, and generated files are up to date."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from reducto.config.export import json_schema
from reducto.version import __version__
from tests.chart.generate import CHART, documented_values, leaf_names, readme, schema
from tests.chart.helm import VALUE_SETS, refusal


def test_every_value_has_a_comment() -> None:
    documented = [value.name for value in documented_values()]
    assert leaf_names() == set(documented)
    assert len(documented) == len(set(documented))


def test_generated_files_are_up_to_date() -> None:
    assert json.loads((CHART / "values.schema.json").read_text()) == schema(), "run: make generate"
    page = (CHART / "README.md").read_text()
    assert readme(page) == page, "run: make generate"
    assert page.count("\n| `") >= len(documented_values())


def test_default_values_and_value_sets_pass_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    for path in (CHART / "values.yaml", *VALUE_SETS):
        jsonschema.validate(yaml.safe_load(path.read_text()) or {}, schema())


def test_every_object_with_fixed_keys_is_closed() -> None:
    def walk(node: object) -> None:
        if isinstance(node, dict):
            if "properties" in node:
                assert node["additionalProperties"] is False
            for inner in node.values():
                walk(inner)

    walk(schema())


def test_reductos_configuration_is_checked_inside_the_values() -> None:
    assert schema()["properties"]["config"]["properties"] == json_schema()["properties"]


def test_the_chart_installs_this_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == __version__


@pytest.mark.integration
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replica": 2}, "replica"),
        ({"image.tga": "x"}, "tga"),
        ({"config.upstream.ulr": "x"}, "ulr"),
        ({"config.cache.max_size": "lots"}, "max_size"),
        ({"kind": "ReplicaSet"}, "kind"),
        ({"image.digest": "sha256:abc"}, "digest"),
        ({"spool.size": "much"}, "size"),
        ({"config.upstream.url": ""}, "set config.upstream.url"),
        ({"spool.persistent": True}, "spool.persistent needs kind: StatefulSet"),
        ({"registry.enabled": True}, "registry.storage.persistent needs kind: StatefulSet"),
        ({"registry.enabled": True, "kind": "DaemonSet"}, "registry.enabled makes no sense"),
        ({"registry.enabled": True, "kind": "StatefulSet", "replicas": 2}, "several replicas need one storage"),
        ({"autoscaling.enabled": True, "kind": "DaemonSet"}, "autoscaling makes no sense"),
        ({"edge.installHosts": True}, "edge.installHosts needs kind: DaemonSet"),
        ({"corpusFetch.enabled": True}, "corpusFetch needs corpora.existingClaim"),
        ({"corpusBuild.enabled": True}, "corpusBuild needs images"),
    ],
)
def test_wrong_values_are_refused_with_a_reason(settings: dict[str, object], message: str) -> None:
    flags = [
        f"--set={name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in settings.items()
    ]
    assert message in refusal(*flags)
