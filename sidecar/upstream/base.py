"""Names of `reducto.oci.transport` as the sidecar's modules import them, until each imports them from there."""

from reducto.oci.transport import PIECE_BYTES as PIECE_BYTES
from reducto.oci.transport import Body as Body
from reducto.oci.transport import Caller as Caller
from reducto.oci.transport import ConnectionCut as UpstreamCut
from reducto.oci.transport import FileBody as FileBody
from reducto.oci.transport import RegistryRequest as UpstreamRequest
from reducto.oci.transport import RegistryResponse as UpstreamResponse
from reducto.oci.transport import StreamBody as StreamBody
from reducto.oci.transport import Transport as Upstream
from reducto.oci.transport import body_pieces as body_pieces

__all__ = [
    "PIECE_BYTES", "Body", "Caller", "FileBody", "StreamBody", "Upstream", "UpstreamCut", "UpstreamRequest",
    "UpstreamResponse", "body_pieces",
]  # fmt: skip
