"""Encryption at rest: AES-256-GCM for instructions and layer corpora, with keys in three levels.

==================  ====================================  ==========================================================
key                 where it lies                         what replacing or destroying it means
==================  ====================================  ==========================================================
key-encryption key  files or environment, never stored    rotation: `Keyring.rewrap` each repository's key blob (80
(`Keyring`)         by Reducto                            bytes); destroying it makes everything under it unreadable
repository key      wrapped, as a blob that the records   crypto-shredding: delete this one blob (and rotate the
(`RepositoryKey`)   of its repository name                key-encryption key, so that no backup of it can be opened)
blob key            wrapped, as the `Envelope` annotation made afresh for each blob and never used for another one;
                    of the blob's descriptor              re-wrapped when the blob is mounted to another repository
==================  ====================================  ==========================================================

No wrapped key lies inside the encrypted bytes, so no rotation changes a blob or its digest. `docs/security.md` has
the reasons.
"""

from reducto.crypt.keyring import Envelope, Keyring, RepositoryKey, SealedKey, generate_kek
from reducto.crypt.stream import Content, Opener, Sealer, sealed_length

__all__ = [
    "Content",
    "Envelope",
    "Keyring",
    "Opener",
    "RepositoryKey",
    "SealedKey",
    "Sealer",
    "generate_kek",
    "sealed_length",
]
