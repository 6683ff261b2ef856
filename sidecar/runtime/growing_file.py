"""A spool file with one writer and any number of readers that follow it while it grows.

A push's spool is one (the client writes, the encoder follows), and a rebuilt blob is one (the decoder writes, clients
follow). A reader gets a byte only after the writer has published it.
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

#: The largest piece that `GrowingFile.follow` yields.
READ_BYTES = 1 << 20
#: The most buffers that one pwritev(2) takes.
_BUFFERS_LIMIT = os.sysconf("SC_IOV_MAX")


class GrowingFile:
    """Made by `create`. The writer ends with `complete` or `fail`; every user who called `retain` calls `release`."""

    def __init__(self, path: Path, descriptor: int, offload: Offload) -> None:
        self.path = path
        self.length = 0
        """Published bytes."""
        self.ended = False
        """Whether no more bytes will be published, because the file is complete or the writer failed."""
        self.error: BaseException | None = None
        """What the writer failed with."""
        self._descriptor = descriptor
        self._offload = offload
        self._users = 1
        self._changed = asyncio.Event()

    @classmethod
    async def create(cls, path: Path, offload: Offload) -> GrowingFile:
        """A new, empty file. Raises `FileExistsError`."""
        descriptor = await offload.io(os.open, path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        return cls(path, descriptor, offload)

    # -- for the writer

    def write_at(self, offset: int, *pieces: bytes | memoryview) -> None:
        """Writes the pieces one after the other from ``offset`` on, without publishing them. Blocks: for workers."""
        left = deque(memoryview(piece) for piece in pieces)
        while left:
            written = os.pwritev(self._descriptor, list(islice(left, _BUFFERS_LIMIT)), offset)
            offset += written
            while left and written >= len(left[0]):
                written -= len(left.popleft())
            if written:
                left[0] = left[0][written:]

    def holds(self, offset: int, data: bytes | memoryview) -> bool:
        """Whether ``data`` agrees with those bytes from ``offset`` on that were published. Blocks: for workers."""
        published = max(0, min(len(data), self.length - offset))
        return os.pread(self._descriptor, published, offset) == bytes(data[:published])

    def publish(self, length: int) -> None:
        """Lets readers have the first ``length`` bytes."""
        if length > self.length:
            self.length = length
            self._notify()

    def complete(self) -> None:
        """Says that no more bytes will come."""
        self.ended = True
        self._notify()

    def fail(self, error: BaseException) -> None:
        """Says that no more bytes will come because of ``error``, which readers then raise."""
        self.error = error
        self.complete()

    # -- for readers

    async def changed(self) -> None:
        """Returns when bytes are published next, or at the end."""
        await self._changed.wait()

    async def read(self, offset: int, limit: int) -> bytes:
        """Between 1 and ``limit`` published bytes from ``offset`` on, as soon as there are any; empty at the end.

        Raises what the writer failed with.
        """
        while offset >= self.length:
            if self.error is not None:
                raise self.error
            if self.ended:
                return b""
            await self.changed()
        wanted = min(limit, self.length - offset)
        return await self._offload.io(os.pread, self._descriptor, wanted, offset)

    async def follow(self, start: int = 0) -> AsyncIterator[bytes]:
        """All bytes from ``start`` on, in pieces of up to `READ_BYTES`, as they are published."""
        while piece := await self.read(start, READ_BYTES):
            start += len(piece)
            yield piece

    # -- for all users

    def retain(self) -> None:
        """Counts one more user, who will call `release`."""
        self._users += 1

    async def release(self) -> None:
        """Ends one use. The last one closes the descriptor; whether the file stays is its owner's decision."""
        self._users -= 1
        if self._users == 0:
            descriptor, self._descriptor = self._descriptor, -1
            await self._offload.io(os.close, descriptor)

    async def remove(self) -> None:
        """Unlinks the file. Users can still read it through the open descriptor."""
        with contextlib.suppress(FileNotFoundError):
            await self._offload.io(os.unlink, self.path)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
