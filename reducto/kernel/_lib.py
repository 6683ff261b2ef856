"""The only importer of the C module, and what every wrapper needs: statuses as exceptions, buffers as pointers."""

from __future__ import annotations

import sys
from typing import Any

from reducto._kernel import ffi as _ffi
from reducto._kernel import lib as _lib
from reducto.errors import Corrupt, LimitExceeded, ReductoError, UsageError

ffi: Any = _ffi
lib: Any = _lib

Buffer = bytes | bytearray | memoryview

if sys.byteorder != "little":  # pragma: no cover - no such machine is supported
    raise ImportError("the kernel's tables are little-endian and this machine is not")


def check(status: int, what: str) -> int:
    """Returns ``status`` if it is not negative, else raises the exception that it stands for.

    ``what`` names the operation in the exception's text: `Corrupt`, `LimitExceeded`, `UsageError`, `ReductoError` or
    `MemoryError`.
    """
    if status >= 0:
        return status
    if status == lib.RDK_E_MEMORY:
        raise MemoryError(what)
    if status == lib.RDK_E_CORRUPT:
        raise Corrupt(f"{what}: the input breaks its format")
    if status == lib.RDK_E_LIMIT:
        raise LimitExceeded(f"{what}: a limit was reached")
    if status == lib.RDK_E_ARGUMENT:
        raise UsageError(f"{what}: an argument is outside its range")
    raise ReductoError(f"{what}: the kernel returned {status}")


def pointer(buffer: Buffer, kind: str = "uint8_t[]") -> Any:
    """Returns a C view of ``buffer`` without a copy. Keep the result alive as long as C uses it."""
    return ffi.from_buffer(kind, buffer)
