"""Generates files from the chart's `values.yaml`, the configuration's schema and the sidecar's metrics.

``make generate`` writes the chart's `values.schema.json`, its dashboard and its README's table, docs/configuration.md
and docs/metrics.md. Tests compare the files with what would be generated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase

from reducto.config.export import json_schema, markdown
from sidecar.runtime.metrics import Metrics
from tests.chart.dashboard import dashboard

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "reducto"

#: Restrictions of values that do not follow from the type of their default.
NARROWER: dict[str, dict[str, Any]] = {
    "kind": {"enum": ["Deployment", "StatefulSet", "DaemonSet", "None"]},
    "replicas": {"minimum": 0},
    "image.digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "registry.image.digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.nodePort": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    "service.sessionAffinity": {"enum": ["None", "ClientIP"]},
    "service.externalTrafficPolicy": {"enum": ["", "Cluster", "Local"]},
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"]},
    "ingress.annotations": {"additionalProperties": {"type": "string"}},
    "corpusBuild.publish": {"pattern": "^(oci://.+)?$"},
    "corpusFetch.references": {"items": {"type": "string", "pattern": "^oci://.+$"}},
    "secrets.encryption.keys": {"items": {"type": "string"}, "minItems": 1},
} | {
    name: {"pattern": "^[1-9][0-9]*Gi$"}
    for name in ("spool.size", "cache.size", "corpora.size", "registry.storage.size", "corpusBuild.workSize")
}


@dataclass(frozen=True)
class Value:
    """One documented value of the chart: its dotted name, its default, and the comment above it."""

    name: str
    default: Any
    doc: str


def documented_values() -> list[Value]:
    """Every value with a ``# --`` comment above it, in the file's order."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    return [Value(name, _get(values, name), doc) for name, doc in _comments(text)]


def leaf_names() -> set[str]:
    """The dotted names of all values that must have a comment.

    Objects inside a documented value need none; every other scalar, list or empty object does.
    """
    documented = {value.name for value in documented_values()}

    def walk(node: Any, name: str) -> Iterator[str]:
        if name in documented or not isinstance(node, dict) or not node:
            yield name
        else:
            for key, inner in node.items():
                yield from walk(inner, f"{name}.{key}" if name else key)

    return set(walk(yaml.safe_load((CHART / "values.yaml").read_text()), ""))


def schema() -> dict[str, Any]:
    """The strict JSON Schema of `values.yaml`, with Reducto's own configuration inside."""
    root = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart reducto"}
    root |= _object(
        {"global": {"type": "object", "description": "Values of a parent chart, which this chart does not use."}}
    )
    for value in documented_values():
        node = root
        *parents, last = value.name.split(".")
        for name in parents:
            node = node["properties"].setdefault(name, _object({}))
        node["properties"][last] = _leaf(value)
    return root


def readme(current: str) -> str:
    """The README ``current`` with a new table of values."""
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for value in documented_values():
        rows.append(f"| `{value.name}` | `{json.dumps(value.default)}` | {value.doc} |")
    return between(current, "values", rows)


def between(page: str, marker: str, lines: Iterable[str]) -> str:
    """``page`` with ``lines`` between ``<!-- marker -->`` and ``<!-- /marker -->``."""
    start, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    head, found, rest = page.partition(start)
    _, closed, tail = rest.partition(end)
    assert found, start
    assert closed, end
    return head + start + "".join(f"{line}\n" for line in lines) + end + tail


def metrics_page(current: str) -> str:
    """docs/metrics.md with new tables of the sidecar's metrics and of the chart's alerts."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "none"
            rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    alerts = ["| alert | severity | what to do |", "| --- | --- | --- |"]
    for rule in alert_rules():
        alerts.append(f"| `{rule['alert']}` | {rule['labels']['severity']} | {rule['annotations']['description']} |")
    return between(between(current, "metrics", rows), "alerts", alerts)


def alert_rules() -> list[dict[str, Any]]:
    """The alerts of the chart."""
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _comments(text: str) -> Iterator[tuple[str, str]]:
    path: list[tuple[int, str]] = []
    doc: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            doc = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("# ") and doc:
            doc.append(stripped.removeprefix("# "))
        elif match := re.match(r"( *)([A-Za-z][A-Za-z0-9]*):", line):
            indent = len(match[1])
            path = [(depth, name) for depth, name in path if depth < indent] + [(indent, match[2])]
            if doc:
                yield ".".join(name for _, name in path), " ".join(doc)
            doc = []


def _get(values: Any, name: str) -> Any:
    for key in name.split("."):
        values = values[key]
    return values


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _leaf(value: Value) -> dict[str, Any]:
    if value.name == "config":
        config = json_schema()
        del config["$schema"], config["title"]
        return config | {"description": value.doc}
    types = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object", type(None): "null"}
    return {"type": types[type(value.default)], "description": value.doc} | NARROWER.get(value.name, {})


def main() -> None:
    """Writes all generated files."""
    (CHART / "values.schema.json").write_text(json.dumps(schema(), indent=2) + "\n")
    (CHART / "files" / "dashboard.json").write_text(json.dumps(dashboard(), indent=2) + "\n")
    page = CHART / "README.md"
    page.write_text(readme(page.read_text()))
    metrics = ROOT / "docs" / "metrics.md"
    metrics.write_text(metrics_page(metrics.read_text()))
    reference = ROOT / "docs" / "configuration.md"
    introduction, heading, _ = reference.read_text().partition("### Top level\n")
    assert heading
    reference.write_text(introduction + markdown())


if __name__ == "__main__":
    main()
