"""Dashboard and alerts are up to date, valid, and use only metrics that the sidecar exports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from sidecar.runtime.metrics import Metrics
from tests.chart.dashboard import dashboard, queries
from tests.chart.generate import CHART, ROOT, alert_rules, metrics_page
from tests.support.process import run
from tests.support.requirements import require_tool

HERE = Path(__file__).parent


def exported() -> dict[str, str]:
    """The help text of each metric name that the sidecar exports."""
    names = {}
    for family in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + suffix: family.documentation for suffix in suffixes}
    return names


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\breducto_[a-z_]+\b(?=[{[])", query))


def test_dashboard_is_up_to_date() -> None:
    assert json.loads((CHART / "files" / "dashboard.json").read_text()) == dashboard(), "run: make generate"


def test_grafana_knows_every_key_of_the_dashboard() -> None:
    """Grafana's own model loses no key when it reads the dashboard and writes it again."""
    again = json.loads(json.dumps(Dashboard.from_json(dashboard()), cls=JSONEncoder))
    assert _missing(dashboard(), again, "") == []


def _missing(ours: object, theirs: object, path: str) -> list[str]:
    if isinstance(ours, dict):
        assert isinstance(theirs, dict), path
        lost = [f"{path}.{key}" for key in ours if key not in theirs]
        return lost + [
            one for key in ours if key in theirs for one in _missing(ours[key], theirs[key], f"{path}.{key}")
        ]
    if isinstance(ours, list):
        assert isinstance(theirs, list), path
        return [one for a, b in zip(ours, theirs, strict=True) for one in _missing(a, b, f"{path}[]")]
    return [] if ours == theirs else [f"{path}: {ours!r} became {theirs!r}"]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert position["x"] + position["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_queries_and_alerts_name_only_exported_metrics() -> None:
    for query in [*queries(), *(rule["expr"] for rule in alert_rules())]:
        assert names_in(query) <= exported().keys(), query


def test_every_exported_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    """A histogram's sum and count need no panel of their own where its buckets have one."""
    used = set().union(*map(names_in, [*queries(), *(rule["expr"] for rule in alert_rules())]))
    unused = {name for name in exported() if name not in used and not name.endswith(("_sum", "_count"))}
    assert unused == set()


def test_metrics_page_lists_exactly_what_is_exported() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert metrics_page(page) == page, "run: make generate"
    documented = re.findall(r"^\| `(reducto_[a-z_]+)`", page, re.MULTILINE)
    families = [family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()]
    assert sorted(documented) == sorted(families)


@pytest.mark.integration
def test_alert_rules_pass_promtool() -> None:
    require_tool("promtool")
    rules = CHART / "files" / "alerts.yaml"
    assert f"{len(alert_rules())} rules found" in run("promtool", "check", "rules", "--lint-fatal", rules)
    run("promtool", "test", "rules", HERE / "alerts.test.yaml")


def test_every_alert_is_tested_both_ways_and_says_what_to_do() -> None:
    cases = yaml.safe_load((HERE / "alerts.test.yaml").read_text())["tests"]
    quiet, firing = ({one["alertname"]: one["exp_alerts"] for one in case["alert_rule_test"]} for case in cases)
    names = {rule["alert"] for rule in alert_rules()}
    assert quiet.keys() == firing.keys() == names
    assert not any(quiet.values())
    assert all(firing.values())
    for rule in alert_rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_named_by_alerts_exist() -> None:
    titles = {panel["title"] for panel in dashboard()["panels"]}
    for rule in alert_rules():
        assert set(re.findall(r"'([A-Z][a-z ]+)'", rule["annotations"]["description"])) <= titles
