"""Computes the status, headers and byte range of the answer with a rebuilt blob, from the request and the record."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from reducto.oci.ranges import parse_range
from reducto.values import ByteRange
from sidecar.api.exchange import Call
from sidecar.records.format import LayerRecord


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """An answer whose body is the range ``span`` of the blob's wire bytes."""

    status: int
    headers: CIMultiDict[str]
    span: ByteRange


def answer_for(call: Call, layer: LayerRecord) -> web.Response | BlobAnswer:
    """The answer to a request for a reduced blob. If it has no body (HEAD, or status 304), the response itself.

    Raises `RangeNotSatisfiable`.
    """
    headers = CIMultiDict(
        {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": str(layer.digest),
            "ETag": f'"{layer.digest}"',
            "Accept-Ranges": "bytes",
            "Cache-Control": "max-age=31536000",
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
    )
    if call.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    if call.method == "HEAD":
        headers["Content-Length"] = str(layer.wire_length)
        return web.Response(status=200, headers=headers)
    wanted = parse_range(call.headers.get("Range"), layer.wire_length)
    if wanted is None:
        return BlobAnswer(200, headers, ByteRange(0, layer.wire_length))
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{layer.wire_length}"
    return BlobAnswer(206, headers, wanted)
