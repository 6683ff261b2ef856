"""TLS for the ports, with a certificate that is read again when its files change.

New connections get the new certificate, and open connections go on with the old one. While the files cannot be used
(one is half written, or key and certificate do not belong together), the old certificate stays in use.
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
    """The TLS contexts of one certificate and key. Ports get ``context`` once, and it always serves the latest pair."""

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        self._files = (certificate_file, key_file)
        self._stamp = self._look()
        self.context = self._current = self._load()
        # The callback runs in every handshake, even if the client names no server.
        self.context.sni_callback = self._choose

    async def reload_logged(self) -> None:
        """Reads the files if they changed, and logs whether they can be used."""
        changed, problem = await asyncio.to_thread(self.reload_if_changed)
        if problem:
            logs.trouble("certificate-not-reloaded", UsageError(problem))
        elif changed:
            logs.event("certificate-reloaded")

    def reload_if_changed(self) -> tuple[bool, str]:
        """Reads the files if they changed. Blocks.

        Returns whether they changed, and why they cannot be used (empty when they can).
        """
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
