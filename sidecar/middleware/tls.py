"""TLS for the ports, with certificates that are read again when their files change.

A certificate that was replaced serves new connections; those that are open go on. A pair that cannot be used (half
written, key and certificate of different renewals) is left alone until it can: the old one keeps serving.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

from reducto.errors import UsageError
from sidecar.runtime import logs

#: How often the files are looked at.
RELOAD_SECONDS = 5.0
_Stamp = tuple[tuple[int, int, int], ...]


class ReloadingTls:
    """Server side TLS contexts of one certificate and key. ``context`` is what ports are given, once."""

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        self._files = (certificate_file, key_file)
        self._stamp = self._look()
        self.context = self._current = self._load()
        # Called in every handshake, whether or not the client names a server.
        self.context.sni_callback = self._choose

    async def reload_logged(self) -> None:
        """Reloads if the files changed, and logs how that went."""
        changed, problem = await asyncio.to_thread(self.reload_if_changed)
        if problem:
            logs.trouble("certificate-not-reloaded", UsageError(problem))
        elif changed:
            logs.event("certificate-reloaded")

    def reload_if_changed(self) -> tuple[bool, str]:
        """Whether the files changed, and why they could not be used. Blocks."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return False, ""
            self._current = self._load()
        except UsageError as error:
            return True, str(error)
        self._stamp = stamp
        return True, ""

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ssl.SSLError, UsageError) as error:
            raise UsageError(f"TLS certificate {certificate} with key {key} cannot be used: {error}") from None
        return context

    def _look(self) -> _Stamp:
        try:
            return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, self._files))
        except OSError as error:
            raise UsageError(f"TLS file {error.filename} cannot be read: {error.strerror}") from None


def _no_password() -> str:
    raise UsageError("an encrypted TLS key would ask for its password; give an unencrypted one")
