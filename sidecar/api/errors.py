"""How a refusal becomes an HTTP answer."""

from __future__ import annotations

from aiohttp import web

from reducto.oci.errors import RegistryError


def error_response(error: RegistryError) -> web.Response:
    """The answer that carries ``error`` in the registry API's JSON form."""
    return web.Response(
        status=error.status, body=error.to_body(), content_type="application/json", headers=error.headers
    )
