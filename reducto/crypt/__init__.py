"""Encryption at rest: AES-256-GCM for instructions and layer corpora.

Each blob has a random key of its own (`Sealer`), used for nothing else. It is kept wrapped by a key-encryption key, as
the `Envelope`: an annotation of the blob's descriptor in the record, not part of the blob. So a rotation of
key-encryption keys rewrites records of some hundred bytes and changes no blob and no digest. Key-encryption keys come
from files or the environment (`Keyring`) and are never stored; a repository, or a group of them, can have one of its
own: destroying it makes all of that repository unreadable, in every copy and backup.
"""

from reducto.crypt.keyring import BlobKey, Envelope, Keyring, generate_kek
from reducto.crypt.stream import Content, Opener, Sealer, sealed_length

__all__ = ["BlobKey", "Content", "Envelope", "Keyring", "Opener", "Sealer", "generate_kek", "sealed_length"]
