"""The registry over HTTP as the sidecar's modules make it, until each makes it by itself."""

from __future__ import annotations

import ssl

from reducto.config import UpstreamOptions
from reducto.oci.http import HttpTransport
from sidecar.runtime.metrics import Metrics
from sidecar.runtime.offload import Offload
from sidecar.runtime.upstream import UpstreamObserver, http_options


class RegistryUpstream(HttpTransport):
    """An `HttpTransport` as the configuration describes it."""

    def __init__(
        self, config: UpstreamOptions, offload: Offload, metrics: Metrics, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(http_options(config), offload, UpstreamObserver(metrics), tls)
