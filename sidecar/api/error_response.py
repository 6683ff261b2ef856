"""Makes HTTP answers of refusals."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from reducto.oci.registry_errors import RegistryError


def error_response(error: RegistryError) -> web.Response:
    """The answer that carries ``error`` in the registry API's JSON form."""
    headers = CIMultiDict(error.headers)
    headers.setdefault("Content-Type", "application/json")
    return web.Response(status=error.status, body=error.to_body(), headers=headers)
