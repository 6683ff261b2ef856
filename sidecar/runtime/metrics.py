"""Everything that the sidecar counts, in one registry that is passed explicitly.

The help texts are shown to operators, by a scrape and in docs/metrics.md, so each must make sense alone.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

#: Upper bounds of the buckets of all histograms.
_BUCKETS_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """All metrics of one process. Names and units follow Prometheus's conventions."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._add_requests()
        self._add_pushes()
        self._add_pulls()
        self._add_storage()
        self._add_upstream()
        self._add_process()
        self._add_idle_work()
        self._pushed_bytes = self._stored_bytes = self._found_bytes = self._searched_bytes = 0

    def layer_pushed(self, wire_bytes: int, stored_bytes: int) -> None:
        """Counts one layer that was reduced or stored as it came."""
        self._pushed_bytes += wire_bytes
        self._stored_bytes += stored_bytes
        self.wire_bytes.inc(wire_bytes)
        self.stored_bytes.inc(stored_bytes)
        self.saved.labels(direction="push").inc(max(0, wire_bytes - stored_bytes))
        if self._stored_bytes:
            self.ratio.set(self._pushed_bytes / self._stored_bytes)

    def layer_matched(self, found_bytes: int, plain_bytes: int) -> None:
        """Counts the plain bytes of a reduced layer, and how many of them corpora held."""
        self._found_bytes += found_bytes
        self._searched_bytes += plain_bytes
        self.reference_bytes.inc(found_bytes)
        self.plain_bytes.inc(plain_bytes)
        if self._searched_bytes:
            self.hit_rate.set(self._found_bytes / self._searched_bytes)

    def moved(self, direction: str, wire_bytes: int, seconds: float) -> None:
        """Notes the speed of one layer; ``direction`` is ``push`` or ``pull``."""
        if seconds > 0:
            self.throughput.labels(direction=direction).set(wire_bytes * 8 / 1e6 / seconds)

    # -- the metrics, in the order of docs/metrics.md

    def _add_requests(self) -> None:
        self.requests = self._counter(
            "reducto_requests", "Requests by route, method and status.", "route", "method", "status"
        )
        self.request_seconds = self._histogram(
            "reducto_request_seconds", "Seconds that answering a request took.", "route"
        )
        self.first_byte_seconds = self._histogram(
            "reducto_first_byte_seconds",
            "Seconds until the first byte of a reduced blob was there. The source is warm for a blob from the cache "
            "and cold for one that is rebuilt.",
            "source",
        )
        self.in_flight = self._gauge("reducto_requests_in_flight", "Requests that are being answered now.")

    def _add_pushes(self) -> None:
        self.decisions = self._counter(
            "reducto_decisions",
            "Pushed layers by outcome (reduced, or stored as they came) and the reason for it.",
            "outcome",
            "reason",
        )
        self.reduce_failures = self._counter(
            "reducto_reduce_failures",
            "Layers that were stored as they came because reducing them failed. This is never normal; alert on it.",
        )
        self.wire_bytes = self._counter(
            "reducto_layer_wire_bytes", "Bytes of pushed layers, compressed as clients sent them."
        )
        self.stored_bytes = self._counter(
            "reducto_layer_stored_bytes", "Bytes that were stored in the upstream for pushed layers."
        )
        self.ratio = self._gauge(
            "reducto_compression_ratio", "Bytes of pushed layers for each byte stored in the upstream, since the start."
        )
        self.reference_bytes = self._counter(
            "reducto_reference_bytes", "Plain (uncompressed) bytes of reduced layers that corpora already held."
        )
        self.plain_bytes = self._counter("reducto_plain_bytes", "Plain (uncompressed) bytes of reduced layers.")
        self.hit_rate = self._gauge(
            "reducto_corpus_hit_rate",
            "Share (0 to 1) of the plain bytes of reduced layers that corpora already held, since the start.",
        )
        self.throughput = self._gauge(
            "reducto_throughput_mbps",
            "Megabits of compressed layer per second, for the latest layer pushed or rebuilt.",
            "direction",
        )
        self.saved = self._counter(
            "reducto_bandwidth_saved_bytes",
            "Bytes of layers that did not have to cross the link to the upstream.",
            "direction",
        )
        self.encode_seconds = self._histogram(
            "reducto_encode_seconds", "Seconds from the last byte of a push to the proof that it can be rebuilt."
        )

    def _add_pulls(self) -> None:
        self.rebuild_seconds = self._histogram("reducto_rebuild_seconds", "Seconds that the rebuild of a blob took.")
        self.rebuild_failures = self._counter(
            "reducto_rebuild_failures", "Rebuilds of blobs that failed. This is never normal; alert on it."
        )
        self.followed_bytes = self._counter(
            "reducto_rebuild_followed_bytes",
            "Plain bytes of rebuilt blobs whose deflate tokens were reused from an older layer in the cache.",
        )
        self.stated_bytes = self._counter(
            "reducto_rebuild_stated_bytes",
            "Plain bytes of rebuilt blobs whose deflate tokens were given by a token delta, without match search.",
        )
        self.rebuilds_running = self._gauge("reducto_rebuilds_running", "Blobs that are being rebuilt now.")

    def _add_storage(self) -> None:
        self.cache_requests = self._counter(
            "reducto_cache_requests",
            "Requests for reduced blobs. The result is warm if the cache held the blob and cold if it did not.",
            "result",
        )
        self.cache_bytes = self._gauge("reducto_cache_bytes", "Bytes of rebuilt blobs in the cache on disk.")
        self.cache_evictions = self._counter(
            "reducto_cache_evictions", "Rebuilt blobs that were deleted to keep the cache within its limit."
        )
        self.corpora_loaded = self._gauge(
            "reducto_corpora_loaded", "Corpora that are ready for use, by kind (base or layer).", "kind"
        )
        self.corpora_bytes = self._gauge("reducto_corpora_bytes", "Bytes of layer corpora in the cache on disk.")
        self.corpus_fetches = self._counter(
            "reducto_corpus_fetches",
            "Downloads of layer corpora from the upstream, by result (fetched or failed).",
            "result",
        )
        self.spool_bytes = self._gauge("reducto_spool_bytes", "Bytes of unfinished uploads in the spool on disk.")
        self.uploads_open = self._gauge("reducto_upload_sessions", "Upload sessions that are open now.")

    def _add_upstream(self) -> None:
        self.upstream_requests = self._counter(
            "reducto_upstream_requests",
            "Requests that the upstream answered, by method and status.",
            "method",
            "status",
        )
        self.upstream_errors = self._counter(
            "reducto_upstream_errors", "Requests that the upstream did not answer, by kind of error.", "kind"
        )
        self.upstream_bytes = self._counter(
            "reducto_upstream_bytes",
            "Bytes of blobs that were received from the upstream (in) or sent to it (out).",
            "direction",
        )

    def _add_process(self) -> None:
        self.queue_depth = self._gauge(
            "reducto_queue_depth", "Steps of encoding and rebuilding that run now or wait for a thread."
        )
        self.loop_lag = self._gauge(
            "reducto_event_loop_lag_seconds", "Latest delay of the event loop, measured about 20 times a second."
        )
        self.loop_lag_worst = self._gauge(
            "reducto_event_loop_lag_max_seconds", "Longest delay of the event loop since the start."
        )
        self.loop_blocked_worst = self._gauge(
            "reducto_event_loop_blocked_max_seconds",
            "Longest delay of the event loop since the start, excluding CPU wait and steal time (Linux).",
        )
        self.background_task_failures = self._counter(
            "reducto_background_task_failures",
            "Failures of background tasks. A task that failed is started again after a pause.",
            "task",
        )

    def _add_idle_work(self) -> None:
        self.recompression_waiting = self._gauge(
            "reducto_recompression_waiting_corpora", "Layer corpora that wait for idle recompression."
        )
        self.token_deltas_waiting = self._gauge(
            "reducto_token_deltas_waiting_layers",
            "Layers that wait to be compared with older ones when the sidecar is idle.",
        )
        self.token_deltas = self._counter(
            "reducto_token_deltas", "Layers for which a token delta to an older layer was stored."
        )
        self.recompressed = self._counter(
            "reducto_recompressed_bytes_saved", "Bytes of layer corpora that idle recompression saved in the upstream."
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=_BUCKETS_SECONDS)
