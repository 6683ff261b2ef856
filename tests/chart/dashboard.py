"""The Grafana dashboard as a table of panels. `make generate` writes the chart's files/dashboard.json from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GRID_COLUMNS, PANEL_HEIGHT, STAT_HEIGHT = 24, 8, 4
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: The condition by which every query reads the metrics of the chosen instances only.
CHOSEN = 'instance=~"$instance"'


@dataclass(frozen=True)
class Panel:
    """One panel. Its queries are pairs of PromQL and legend; ``@`` in PromQL stands for `CHOSEN`."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    help: str
    stat: bool = False


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{@{where}}}[$__rate_interval]))"


def _quantile(q: float, histogram: str, by: str) -> str:
    buckets = f"sum by (le, {by}) (rate({histogram}_bucket{{@}}[$__rate_interval]))"
    return f"histogram_quantile({q}, {buckets})"


ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": (
        Panel(
            "Pushed per byte stored",
            "none",
            (("sum(reducto_layer_wire_bytes_total{@}) / sum(reducto_layer_stored_bytes_total{@})", ""),),
            "Bytes of layers that clients pushed for each byte that was stored in the registry.",
            stat=True,
        ),
        Panel(
            "Found in corpora",
            "percentunit",
            (("sum(reducto_reference_bytes_total{@}) / sum(reducto_plain_bytes_total{@})", ""),),
            "Share of the layers' plain bytes that corpora already held.",
            stat=True,
        ),
        Panel(
            "Saved",
            "bytes",
            (("sum by (direction) (reducto_bandwidth_saved_bytes_total{@})", "{{direction}}"),),
            "Bytes that did not have to be sent to or from the registry.",
            stat=True,
        ),
        Panel(
            "Requests",
            "reqps",
            (("sum(rate(reducto_requests_total{@}[$__rate_interval]))", ""),),
            "Requests that clients sent, per second.",
            stat=True,
        ),
        Panel(
            "Failing",
            "percentunit",
            (
                (
                    'sum(rate(reducto_requests_total{@, status=~"5.."}[$__rate_interval]) or vector(0))'
                    " / sum(rate(reducto_requests_total{@}[$__rate_interval]))",
                    "",
                ),
            ),
            "Share of clients' requests that were answered with a 5xx status.",
            stat=True,
        ),
        Panel(
            "Failures to look at",
            "none",
            (
                ("sum(increase(reducto_reduce_failures_total{@}[1d]))", "reduce"),
                ("sum(increase(reducto_rebuild_failures_total{@}[1d]))", "rebuild"),
            ),
            "Failures in the last day. Each is a reason to look: after a failed reduction the original was stored, "
            "and a failed rebuild broke a pull.",
            stat=True,
        ),
    ),
    "Pushes": (
        Panel(
            "Layer bytes",
            "Bps",
            (
                (_rate("reducto_layer_wire_bytes_total", "job"), "pushed"),
                (_rate("reducto_layer_stored_bytes_total", "job"), "stored"),
            ),
            "Bytes of layers that clients pushed, and bytes that were stored for them. The difference is saved.",
        ),
        Panel(
            "Decisions by reason",
            "none",
            ((_rate("reducto_decisions_total", "outcome, reason"), "{{outcome}} {{reason}}"),),
            "Layers that were reduced, and layers that were stored as they came, by reason.",
        ),
        Panel(
            "Seconds to reduce and prove",
            "s",
            (
                (_quantile(0.5, "reducto_encode_seconds", "job"), "median"),
                (_quantile(0.95, "reducto_encode_seconds", "job"), "p95"),
            ),
            "Seconds from the last byte of a pushed layer to the proof that it can be rebuilt.",
        ),
        Panel(
            "Ratio and hit rate by instance",
            "none",
            (
                ("reducto_compression_ratio{@}", "ratio {{instance}}"),
                ("reducto_corpus_hit_rate{@}", "hit rate {{instance}}"),
            ),
            "Pushed bytes per stored byte, and share of plain bytes found in corpora, since each instance started.",
        ),
        Panel(
            "Speed of the latest layer",
            "Mbits",
            (("reducto_throughput_mbps{@}", "{{direction}} {{instance}}"),),
            "Compressed megabits per second of the latest layer that was pushed or pulled.",
        ),
        Panel(
            "Uploads open",
            "none",
            (("sum(reducto_upload_sessions{@})", "sessions"),),
            "Upload sessions that are open.",
        ),
    ),
    "Pulls": (
        Panel(
            "First byte",
            "s",
            (
                (_quantile(0.5, "reducto_first_byte_seconds", "source"), "median {{source}}"),
                (_quantile(0.95, "reducto_first_byte_seconds", "source"), "p95 {{source}}"),
            ),
            "Seconds until a blob's first byte was sent. Cold blobs are rebuilt, warm ones are read from the cache.",
        ),
        Panel(
            "Rebuilds",
            "s",
            (
                (_quantile(0.5, "reducto_rebuild_seconds", "job"), "median"),
                (_quantile(0.95, "reducto_rebuild_seconds", "job"), "p95"),
            ),
            "Seconds to rebuild a blob.",
        ),
        Panel(
            "Rebuilt by token reuse",
            "Bps",
            (
                ("sum(rate(reducto_rebuild_followed_bytes_total{@}[5m]))", "plain bytes"),
                ("sum(rate(reducto_rebuild_stated_bytes_total{@}[5m]))", "of these from a token delta"),
            ),
            "Plain bytes per second whose deflate tokens were taken from an older layer instead of a match search.",
        ),
        Panel(
            "Cache",
            "reqps",
            ((_rate("reducto_cache_requests_total", "result"), "{{result}}"),),
            "Requests for blobs, by whether the cache had the blob.",
        ),
        Panel(
            "Rebuilds running",
            "none",
            (("sum(reducto_rebuilds_running{@})", "running"),),
            "Rebuilds that are running. limits.rebuilds is the largest number for one instance.",
        ),
    ),
    "Clients": (
        Panel(
            "Requests by status",
            "reqps",
            ((_rate("reducto_requests_total", "status"), "{{status}}"),),
            "Clients' requests by status. 401 is normal, because the answer tells clients where to get a token.",
        ),
        Panel(
            "Latency by route (p95)",
            "s",
            ((_quantile(0.95, "reducto_request_seconds", "route"), "{{route}}"),),
            "Seconds until a request was answered completely, for the slowest 5 % of requests.",
        ),
        Panel(
            "In flight",
            "none",
            (("sum by (instance) (reducto_requests_in_flight{@})", "{{instance}}"),),
            "Requests that are being answered.",
        ),
    ),
    "Registry": (
        Panel(
            "Upstream answers",
            "reqps",
            ((_rate("reducto_upstream_requests_total", "status"), "{{status}}"),),
            "Answers of the registry by status.",
        ),
        Panel(
            "Upstream silent",
            "none",
            ((_rate("reducto_upstream_errors_total", "kind") + " or vector(0)", "{{kind}}"),),
            "Requests to the registry that got no answer, by kind of error.",
        ),
        Panel(
            "Upstream bytes",
            "Bps",
            ((_rate("reducto_upstream_bytes_total", "direction"), "{{direction}}"),),
            "Bytes of blobs that were sent to and read from the registry.",
        ),
    ),
    "Disk and machine": (
        Panel(
            "Bytes on disk",
            "bytes",
            (
                ("sum(reducto_cache_bytes{@})", "rebuilt blobs"),
                ("sum(reducto_spool_bytes{@})", "spool"),
                ("sum(reducto_corpora_bytes{@})", "layer corpora"),
            ),
            "Bytes of files on the local disk. All of them may be lost at any time.",
        ),
        Panel(
            "Corpora loaded",
            "none",
            (("sum by (kind) (reducto_corpora_loaded{@})", "{{kind}}"),),
            "Corpora that are mapped into memory, by kind.",
        ),
        Panel(
            "Corpora fetched",
            "none",
            ((_rate("reducto_corpus_fetches_total", "result") + " or vector(0)", "{{result}}"),),
            "Layer corpora that were fetched from the registry, by result.",
        ),
        Panel(
            "Evictions",
            "none",
            (("sum(rate(reducto_cache_evictions_total{@}[$__rate_interval]))", "blobs"),),
            "Blobs that were deleted to keep the cache below its limit. If there are many, the cache is too small.",
        ),
        Panel(
            "Work waiting",
            "none",
            (("sum by (instance) (reducto_queue_depth{@})", "{{instance}}"),),
            "Steps of compression, matching and rebuilding that wait or run.",
        ),
        Panel(
            "Event loop",
            "s",
            (
                ("max(reducto_event_loop_lag_seconds{@})", "latest"),
                ("max(reducto_event_loop_lag_max_seconds{@})", "largest"),
                ("max(reducto_event_loop_blocked_max_seconds{@})", "largest, without waits for a processor"),
            ),
            "Seconds by which the event loop was late, and the largest delays since the start.",
        ),
        Panel(
            "Background tasks failing",
            "none",
            (("sum by (task) (increase(reducto_background_task_failures_total{@}[1h]))", "{{task}}"),),
            "Failures of background tasks in the last hour, by task. /health/ready names those that keep failing.",
        ),
        Panel(
            "Saved by recompression",
            "bytes",
            (("sum(reducto_recompressed_bytes_saved_total{@})", "saved"),),
            "Bytes that became free in the registry because layer corpora were compressed again in idle time.",
        ),
        Panel(
            "Waiting for recompression",
            "none",
            (
                ("sum by (instance) (reducto_recompression_waiting_corpora{@})", "corpora, {{instance}}"),
                ("sum by (instance) (reducto_token_deltas_waiting_layers{@})", "layers, {{instance}}"),
            ),
            "Layer corpora to compress again, and layers to compare with older ones. If the numbers grow for days, the "
            "sidecar is never idle.",
        ),
        Panel(
            "Token deltas",
            "none",
            (("sum(reducto_token_deltas_total{@})", "layers"),),
            "Layers for which a token delta from an older layer was stored. An edge that has the older one "
            "rebuilds them faster.",
        ),
    ),
}


def queries() -> list[str]:
    """Every query of the dashboard as PromQL, for all instances."""
    expanded = [query for panels in ROWS.values() for panel in panels for query, _ in panel.queries]
    return [query.replace("@", CHOSEN).replace("$instance", ".*") for query in expanded]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            _panel_frame(len(panels), "row", title, 0, y, GRID_COLUMNS, 1) | {"collapsed": False, "panels": []}
        )
        y += 1
        width, height = (GRID_COLUMNS // len(row), STAT_HEIGHT) if row[0].stat else (8, PANEL_HEIGHT)
        for position, panel in enumerate(row):
            x, line = position * width % GRID_COLUMNS, position * width // GRID_COLUMNS
            panels.append(_panel(len(panels), panel, x, y + line * height, width, height))
        y += -(-len(row) * width // GRID_COLUMNS) * height
    return {
        "uid": "reducto",
        "title": "Reducto",
        "tags": ["reducto", "registry"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource_variable(), _instance_variable()]},
        "panels": panels,
    }


def _panel_frame(number: int, kind: str, title: str, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"id": number + 1, "type": kind, "title": title, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _panel(number: int, panel: Panel, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    kind = "stat" if panel.stat else "timeseries"
    targets = [
        {"refId": chr(65 + index), "datasource": SOURCE, "expr": query.replace("@", CHOSEN), "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    return _panel_frame(number, kind, panel.title, x, y, width, height) | {
        "description": panel.help,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _instance_variable() -> dict[str, Any]:
    return {
        "name": "instance",
        "type": "query",
        "label": "Instance",
        "datasource": SOURCE,
        "query": "label_values(reducto_queue_depth, instance)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
    }
