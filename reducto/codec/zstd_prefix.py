"""zstd frames that refer to a prefix of raw content, which is not copied.

`zstandard` copies a dictionary while it holds the GIL: about 50 ms for tens of megabytes. So this module passes the
prefix to zstd itself, through the CFFI binding that comes with `zstandard`. The frames are the same byte for byte. If
that binding is not installed, `zstandard` copies the prefix.
"""

from __future__ import annotations

from typing import IO, Any, Protocol, cast

import zstandard

from reducto.kernel.buffers import hold, uncleared

try:
    from zstandard import backend_cffi
except ImportError:  # built without CFFI
    ffi = lib = cast(Any, None)
else:
    ffi, lib = cast(Any, backend_cffi).ffi, cast(Any, backend_cffi).lib

_READ_BYTES = 128 << 10
_PARAMETERS = (
    ("ZSTD_c_compressionLevel", "compression_level"),
    ("ZSTD_c_windowLog", "window_log"),
    ("ZSTD_c_hashLog", "hash_log"),
    ("ZSTD_c_chainLog", "chain_log"),
    ("ZSTD_c_searchLog", "search_log"),
    ("ZSTD_c_minMatch", "min_match"),
    ("ZSTD_c_targetLength", "target_length"),
    ("ZSTD_c_strategy", "strategy"),
)


class PrefixReader(Protocol):
    """Decodes one frame from front to back."""

    def readinto(self, out: memoryview) -> int:
        """Fills ``out`` as far as the frame goes and returns the number of bytes. Raises `zstandard.ZstdError`."""


def compress(
    data: bytes | memoryview, prefix: bytes | memoryview, parameters: zstandard.ZstdCompressionParameters
) -> bytes | memoryview:
    """``data`` as one zstd frame that may refer to ``prefix``. Raises `zstandard.ZstdError`."""
    if lib is None:
        return zstandard.ZstdCompressor(dict_data=_dictionary(prefix), compression_params=parameters).compress(data)
    context = _made(lib.ZSTD_createCCtx())
    try:
        for name, attribute in _PARAMETERS:
            _checked(lib.ZSTD_CCtx_setParameter(context, getattr(lib, name), getattr(parameters, attribute)))
        _checked(
            lib.ZSTD_CCtx_loadDictionary_advanced(
                context, ffi.from_buffer(prefix), len(prefix), lib.ZSTD_dlm_byRef, lib.ZSTD_dct_rawContent
            )
        )
        out = uncleared(lib.ZSTD_compressBound(len(data)))
        length = lib.ZSTD_compress2(context, ffi.from_buffer(out), len(out), ffi.from_buffer(data), len(data))
        return out[: _checked(length)]
    finally:
        lib.ZSTD_freeCCtx(context)


def open_reader(source: IO[bytes], prefix: bytes | memoryview, window_log_limit: int) -> PrefixReader:
    """A reader of the frame in ``source``, which refers to ``prefix``. The prefix must not change while it reads."""
    if lib is None:
        decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary(prefix), max_window_size=1 << window_log_limit)
        return cast(PrefixReader, decompressor.stream_reader(source, read_size=_READ_BYTES))
    return _CffiReader(source, prefix, window_log_limit)


class _CffiReader:
    def __init__(self, source: IO[bytes], prefix: bytes | memoryview, window_log_limit: int) -> None:
        self._source = source
        self._held = hold(prefix)
        start = ffi.cast("uint8_t *", ffi.from_buffer(prefix))
        self._context = ffi.gc(_made(lib.ZSTD_createDCtx()), lib.ZSTD_freeDCtx)
        _checked(lib.ZSTD_DCtx_setParameter(self._context, lib.ZSTD_d_windowLogMax, window_log_limit))
        _checked(
            lib.ZSTD_DCtx_loadDictionary_advanced(
                self._context, start, len(prefix), lib.ZSTD_dlm_byRef, lib.ZSTD_dct_rawContent
            )
        )
        self._in, self._piece = ffi.new("ZSTD_inBuffer *"), ffi.from_buffer(b"")

    def readinto(self, out: memoryview) -> int:
        target = ffi.new("ZSTD_outBuffer *", (ffi.from_buffer(out), len(out), 0))
        left = 1
        while target.pos < len(out) and left:
            if self._in.pos == self._in.size and not self._read():
                break
            left = _checked(lib.ZSTD_decompressStream(self._context, target, self._in))
        return int(target.pos)

    def _read(self) -> bool:
        self._piece = ffi.from_buffer(self._source.read(_READ_BYTES))
        self._in.src, self._in.size, self._in.pos = self._piece, len(self._piece), 0
        return bool(self._in.size)


def _made(context: Any) -> Any:
    if context == ffi.NULL:
        raise MemoryError("zstd")
    return context


def _checked(status: int) -> int:
    if lib.ZSTD_isError(status):
        raise zstandard.ZstdError(ffi.string(lib.ZSTD_getErrorName(status)).decode())
    return status


def _dictionary(prefix: bytes | memoryview) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
