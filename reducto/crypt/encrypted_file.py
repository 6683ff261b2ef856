"""A `.reducto` file encrypted as a whole: the wrapped key in front, then the encrypted form of the file.

::

    magic (8) | u16 version | u16 envelope length | envelope (text) | AES-256-GCM stream (reducto.crypt)
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from reducto.crypt import Content, Envelope, Keyring, Opener, Sealer
from reducto.errors import Corrupt, NotReducto

MAGIC = b"\x89RDE\r\n\x1a\n"
VERSION = 1
_HEAD = struct.Struct("<8sHH")
_PIECE_BYTES = 1 << 20
_SUBJECT = "file"


class SealingWriter:
    """A binary writer that encrypts to ``out``; `close` completes the file but leaves ``out`` open."""

    def __init__(self, out: BinaryIO, keyring: Keyring) -> None:
        key, envelope = keyring.new_blob_key(_SUBJECT)
        text = str(envelope).encode()
        out.write(_HEAD.pack(MAGIC, VERSION, len(text)) + text)
        self._out = out
        self._sealer = Sealer(key, Content.INSTRUCTIONS, _SUBJECT)

    def write(self, data: bytes | memoryview) -> int:
        """Encrypts ``data`` behind what was written before."""
        self._out.write(self._sealer.update(data))
        return len(data)

    def close(self) -> None:
        """Writes the last segment."""
        self._out.write(self._sealer.finish())


def is_sealed(head: bytes | memoryview) -> bool:
    """Whether a file that begins with ``head`` is encrypted."""
    return bytes(head[: len(MAGIC)]) == MAGIC


def open_sealed(source: BinaryIO, keyring: Keyring, out: BinaryIO) -> None:
    """Decrypts ``source`` to ``out``. Raises `NotReducto`, `Corrupt`, `KeyUnavailable`."""
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size or not is_sealed(head):
        raise NotReducto("not an encrypted .reducto file")
    _, version, length = _HEAD.unpack(head)
    if version != VERSION:
        raise NotReducto(f"encrypted .reducto version {version} is not known; this release reads {VERSION}")
    text = source.read(length)
    try:
        envelope = Envelope.parse(text.decode("ascii"))
    except (UnicodeDecodeError, NotReducto):
        raise Corrupt("encrypted .reducto file: the wrapped key in front of it is damaged") from None
    opener = Opener(keyring.open(envelope), Content.INSTRUCTIONS, _SUBJECT)
    while piece := source.read(_PIECE_BYTES):
        out.write(opener.update(piece))
    out.write(opener.finish())
