"""Encryption at rest: AES-256-GCM for instructions and layer corpora.

Each blob has a random key of its own, which is used for nothing else (`StreamEncryptor`). That key is kept wrapped by a
key-encryption key, as the `Envelope`, which is an annotation of the blob's descriptor in the record and no part of the
blob. So a rotation of key-encryption keys rewrites records of some hundred bytes and changes no blob and no digest.
Key-encryption keys come from files or the environment (`Keyring`) and are never stored. A repository, or a group of
them, can have a key-encryption key of its own; destroying that makes the whole repository unreadable, in every copy and
backup.
"""

from reducto.crypt.keyring import BlobKey, Envelope, Keyring, generate_kek
from reducto.crypt.stream import Content, StreamDecryptor, StreamEncryptor, encrypted_length

__all__ = [
    "BlobKey",
    "Content",
    "Envelope",
    "Keyring",
    "StreamDecryptor",
    "StreamEncryptor",
    "encrypted_length",
    "generate_kek",
]
