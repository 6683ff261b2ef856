"""Everything the sidecar counts, in one registry that is passed explicitly."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One instance per process; names and units follow Prometheus's conventions."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        counter, gauge, histogram = _makers(registry)
        self.requests = counter(
            "reducto_requests", "Requests by route, method and status.", "route", "method", "status"
        )
        self.request_seconds = histogram("reducto_request_seconds", "Seconds until a request was answered.", "route")
        self.first_byte_seconds = histogram(
            "reducto_first_byte_seconds", "Seconds until a blob's first byte.", "source"
        )
        self.in_flight = gauge("reducto_requests_in_flight", "Requests being answered.")
        self.decisions = counter("reducto_decisions", "Layers by outcome and reason.", "outcome", "reason")
        self.reduce_failures = counter(
            "reducto_reduce_failures",
            "Layers stored as they came because reducing failed: never normal, alert on it.",
        )
        self.wire_bytes = counter("reducto_layer_wire_bytes", "Bytes of layers as clients pushed them.")
        self.stored_bytes = counter("reducto_layer_stored_bytes", "Bytes that the upstream got for these layers.")
        self.ratio = gauge("reducto_compression_ratio", "Bytes pushed per byte stored, since start.")
        self.reference_bytes = counter("reducto_reference_bytes", "Plain bytes found in corpora.")
        self.plain_bytes = counter("reducto_plain_bytes", "Plain bytes of layers that were looked up in corpora.")
        self.hit_rate = gauge("reducto_corpus_hit_rate", "Share of plain bytes found in corpora, since start (0..1).")
        self.throughput = gauge(
            "reducto_throughput_mbps", "Megabits of wire bytes per second, latest layer.", "direction"
        )
        self.saved = counter(
            "reducto_bandwidth_saved_bytes", "Bytes that did not cross the link to the upstream.", "direction"
        )
        self.encode_seconds = histogram("reducto_encode_seconds", "Seconds from the last byte of a push to its proof.")
        self.rebuild_seconds = histogram("reducto_rebuild_seconds", "Seconds to rebuild a blob.")
        self.rebuild_failures = counter("reducto_rebuild_failures", "Rebuilds that failed: never normal, alert on it.")
        self.followed_bytes = counter(
            "reducto_rebuild_followed_bytes",
            "Plain bytes of blobs that were rebuilt beside an older one in the cache.",
        )
        self.stated_bytes = counter(
            "reducto_rebuild_stated_bytes",
            "Those of them whose tokens a token delta told, so that nothing was searched.",
        )
        self.rebuilds_running = gauge("reducto_rebuilds_running", "Rebuilds in progress.")
        self.cache_requests = counter("reducto_cache_requests", "Blob requests by what the cache held.", "result")
        self.cache_bytes = gauge("reducto_cache_bytes", "Bytes of rebuilt blobs on disk.")
        self.cache_evictions = counter("reducto_cache_evictions", "Blobs dropped to stay in the limit.")
        self.corpora_loaded = gauge("reducto_corpora_loaded", "Corpora mapped.", "kind")
        self.corpora_bytes = gauge("reducto_corpora_bytes", "Bytes of layer corpora on disk.")
        self.corpus_fetches = counter("reducto_corpus_fetches", "Layer corpora fetched from the upstream.", "result")
        self.spool_bytes = gauge("reducto_spool_bytes", "Bytes of uploads on disk.")
        self.uploads_open = gauge("reducto_upload_sessions", "Upload sessions open.")
        self.upstream_requests = counter("reducto_upstream_requests", "Requests to the upstream.", "method", "status")
        self.upstream_errors = counter("reducto_upstream_errors", "Requests that the upstream never answered.", "kind")
        self.upstream_bytes = counter("reducto_upstream_bytes", "Blob bytes to and from the upstream.", "direction")
        self.queue_depth = gauge("reducto_queue_depth", "Kernel steps waiting or running.")
        self.loop_lag = gauge("reducto_event_loop_lag_seconds", "Latest delay of the event loop.")
        self.loop_lag_worst = gauge("reducto_event_loop_lag_max_seconds", "Longest delay of the event loop so far.")
        self.loop_blocked_worst = gauge(
            "reducto_event_loop_blocked_max_seconds",
            "The same without what it waited for a processor, its own or one that the host took away (Linux).",
        )
        self.background_task_failures = counter(
            "reducto_background_task_failures",
            "Failures of background tasks, each of which was started again after a pause.",
            "task",
        )
        self.recompression_waiting = gauge(
            "reducto_recompression_waiting_corpora", "Layer corpora that idle recompression has not been through yet."
        )
        self.token_deltas_waiting = gauge(
            "reducto_token_deltas_waiting_layers", "Layers that idle work has not compared with older ones yet."
        )
        self.token_deltas = counter("reducto_token_deltas", "Layers whose tokens are stated by an older layer's.")
        self.recompressed = counter("reducto_recompressed_bytes_saved", "Bytes saved by idle recompression.")
        self._wire = self._stored = self._found = self._plain = 0
        self.started = time.time()

    def layer_pushed(self, wire_bytes: int, stored_bytes: int) -> None:
        """Counts one layer, reduced or stored."""
        self._wire += wire_bytes
        self._stored += stored_bytes
        self.wire_bytes.inc(wire_bytes)
        self.stored_bytes.inc(stored_bytes)
        self.saved.labels(direction="push").inc(max(0, wire_bytes - stored_bytes))
        if self._stored:
            self.ratio.set(self._wire / self._stored)

    def layer_matched(self, found_bytes: int, plain_bytes: int) -> None:
        """Counts what a reduced layer found in corpora."""
        self._found += found_bytes
        self._plain += plain_bytes
        self.reference_bytes.inc(found_bytes)
        self.plain_bytes.inc(plain_bytes)
        if self._plain:
            self.hit_rate.set(self._found / self._plain)

    def moved(self, direction: str, wire_bytes: int, seconds: float) -> None:
        """Notes the speed of one layer."""
        if seconds > 0:
            self.throughput.labels(direction=direction).set(wire_bytes * 8 / 1e6 / seconds)


def _makers(registry: CollectorRegistry):  # type: ignore[no-untyped-def]
    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=registry)

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=registry)

    def histogram(name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=registry, buckets=_SECONDS)

    return counter, gauge, histogram
