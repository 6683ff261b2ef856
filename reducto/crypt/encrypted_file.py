"""A `.reducto` file that is encrypted as a whole: first its wrapped key, then the encrypted form of the file.

::

    magic (8) | u16 version | u16 envelope length | envelope (text) | AES-256-GCM stream (reducto.crypt)
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from reducto.crypt import Content, Envelope, Keyring, StreamDecryptor, StreamEncryptor
from reducto.errors import Corrupt, NotReducto

MAGIC = b"\x89RDE\r\n\x1a\n"
VERSION = 1
_HEAD = struct.Struct("<8sHH")
_PIECE_BYTES = 1 << 20
_SUBJECT = "file"


class EncryptingWriter:
    """A binary writer that encrypts to ``out``; `close` completes the file but leaves ``out`` open."""

    def __init__(self, out: BinaryIO, keyring: Keyring) -> None:
        key, envelope = keyring.new_blob_key(_SUBJECT)
        text = str(envelope).encode()
        out.write(_HEAD.pack(MAGIC, VERSION, len(text)) + text)
        self._out = out
        self._encryptor = StreamEncryptor(key, Content.INSTRUCTIONS, _SUBJECT)

    def write(self, data: bytes | memoryview) -> int:
        """Encrypts ``data`` and appends it to what was written before."""
        self._out.write(self._encryptor.update(data))
        return len(data)

    def close(self) -> None:
        """Writes the last segment."""
        self._out.write(self._encryptor.finish())


def is_encrypted(head: bytes | memoryview) -> bool:
    """Whether a file that begins with ``head`` is encrypted."""
    return bytes(head[: len(MAGIC)]) == MAGIC


def decrypt_file(source: BinaryIO, keyring: Keyring, out: BinaryIO) -> None:
    """Decrypts ``source`` to ``out``. Raises `NotReducto`, `Corrupt`, `KeyUnavailable`."""
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size or not is_encrypted(head):
        raise NotReducto("not an encrypted .reducto file")
    _, version, length = _HEAD.unpack(head)
    if version != VERSION:
        raise NotReducto(f"encrypted .reducto version {version} is not known; this release reads {VERSION}")
    text = source.read(length)
    try:
        envelope = Envelope.parse(text.decode("ascii"))
    except (UnicodeDecodeError, NotReducto):
        raise Corrupt("encrypted .reducto file: the wrapped key in front of it is damaged") from None
    decryptor = StreamDecryptor(keyring.open(envelope), Content.INSTRUCTIONS, _SUBJECT)
    while piece := source.read(_PIECE_BYTES):
        out.write(decryptor.update(piece))
    out.write(decryptor.finish())
