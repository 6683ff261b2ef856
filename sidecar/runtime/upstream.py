"""The options of the connection to the upstream registry, and the metrics that count its requests and bytes."""

from __future__ import annotations

from reducto.config import UpstreamOptions
from reducto.oci.http import HttpOptions
from reducto.oci.retry import RetryPolicy
from reducto.oci.transport import TransferObserver
from sidecar.runtime.metrics import Metrics

_FIRST_PAUSE_SECONDS = 0.2


def http_options(config: UpstreamOptions) -> HttpOptions:
    """How to reach the upstream registry over HTTP. Answers with status 429 are passed on, so that clients wait."""
    return HttpOptions(
        url=config.url,
        ca_file=config.ca_file,
        client_certificate_file=config.client_certificate_file,
        client_key_file=config.client_key_file,
        connect_timeout_seconds=config.connect_timeout,
        read_timeout_seconds=config.read_timeout,
        max_connections=config.max_connections,
        retries=RetryPolicy(config.retries + 1, _FIRST_PAUSE_SECONDS),
    )


class UpstreamObserver(TransferObserver):
    """Counts requests to the upstream and the bytes of blobs in the sidecar's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def answered(self, method: str, status: int) -> None:
        self._metrics.upstream_requests.labels(method=method, status=str(status)).inc()

    def failed(self, kind: str) -> None:
        self._metrics.upstream_errors.labels(kind=kind).inc()

    def received(self, count_bytes: int) -> None:
        self._metrics.upstream_bytes.labels(direction="in").inc(count_bytes)

    def sent(self, count_bytes: int) -> None:
        self._metrics.upstream_bytes.labels(direction="out").inc(count_bytes)
