"""A file with one writer and any number of readers that follow it while it grows.

Both directions use it: a push's spool (the client writes, the encoder follows) and a pull's rebuild (the decoder
writes, clients follow). Readers get a byte only when the writer has published it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path

from sidecar.runtime.offload import Offload

READ_BYTES = 1 << 20
_VECTORS = os.sysconf("SC_IOV_MAX")


class GrowingFile:
    """Create with `create`; the writer ends with `complete` or `fail`; everyone who retained it releases it."""

    def __init__(self, path: Path, descriptor: int, offload: Offload) -> None:
        self.path = path
        self.length = 0
        """Published bytes."""
        self.ended = False
        self.error: BaseException | None = None
        self._descriptor = descriptor
        self._offload = offload
        self._holders = 1
        self._changed = asyncio.Event()

    @classmethod
    async def create(cls, path: Path, offload: Offload) -> GrowingFile:
        """A new, empty file. Raises `FileExistsError`."""
        descriptor = await offload.io(os.open, path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        return cls(path, descriptor, offload)

    # -- writer

    def write_at(self, offset: int, *pieces: bytes | memoryview) -> None:
        """Writes the pieces one after the other, without publishing. Blocking: for workers."""
        left = deque(memoryview(piece) for piece in pieces)
        while left:
            written = os.pwritev(self._descriptor, list(islice(left, _VECTORS)), offset)
            offset += written
            while left and written >= len(left[0]):
                written -= len(left.popleft())
            if written:
                left[0] = left[0][written:]

    def holds(self, offset: int, data: bytes | memoryview) -> bool:
        """Whether what readers may already have from ``offset`` on begins like ``data``. Blocking: for workers."""
        published = max(0, min(len(data), self.length - offset))
        return os.pread(self._descriptor, published, offset) == bytes(data[:published])

    def publish(self, length: int) -> None:
        """Lets readers have the first ``length`` bytes."""
        if length > self.length:
            self.length = length
            self._notify()

    def complete(self) -> None:
        """No more bytes will come."""
        self.ended = True
        self._notify()

    def fail(self, error: BaseException) -> None:
        """Readers raise ``error`` from now on."""
        self.error = error
        self.complete()

    # -- readers

    async def changed(self) -> None:
        """Returns at the next publication or end."""
        await self._changed.wait()

    async def read(self, offset: int, limit: int) -> bytes:
        """Up to ``limit`` published bytes from ``offset``; empty at the end. Raises what the writer failed with."""
        while offset >= self.length:
            if self.error is not None:
                raise self.error
            if self.ended:
                return b""
            await self.changed()
        wanted = min(limit, self.length - offset)
        return await self._offload.io(os.pread, self._descriptor, wanted, offset)

    async def follow(self, start: int = 0) -> AsyncIterator[bytes]:
        """All bytes from ``start`` as they come."""
        while piece := await self.read(start, READ_BYTES):
            start += len(piece)
            yield piece

    # -- life

    def retain(self) -> None:
        """One more holder."""
        self._holders += 1

    async def release(self) -> None:
        """One holder less; the last closes the descriptor (the file itself is its owner's to keep or remove)."""
        self._holders -= 1
        if self._holders == 0:
            descriptor, self._descriptor = self._descriptor, -1
            await self._offload.io(os.close, descriptor)

    async def remove(self) -> None:
        """Unlinks the file; holders can still read it."""
        with contextlib.suppress(FileNotFoundError):
            await self._offload.io(os.unlink, self.path)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
