"""Signs and verifies records, and encrypts and decrypts the blobs that they name. The sidecar uses its keys only here.

Without keys nothing is signed or encrypted. All methods block, so they are called on workers.
`reducto.trust.signed_records` and `reducto.crypt` define the formats. A blob's wrapped key (its *envelope*) lies in
the record that names the blob.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reducto.config import Bind, Config
from reducto.crypt import Content, Envelope, Keyring, StreamDecryptor, StreamEncryptor
from reducto.errors import KeyUnavailable
from reducto.oci.names import RepositoryName
from reducto.trust import signed_records
from reducto.trust.key_files import load_signer, load_trust, read_secret
from reducto.trust.signatures import Signer, TrustedKey, TrustStore
from reducto.values import CorpusId, Digest

_PIECE_BYTES = 1 << 20


class Protector:
    """Signs and verifies records, encrypts and decrypts blobs. Signer, trusted keys and keyring may each be missing."""

    def __init__(
        self,
        signer: Signer | None = None,
        trust: TrustStore | None = None,
        keyring: Keyring | None = None,
        *,
        required: bool = False,
        bind: Bind = Bind.REPOSITORY,
        trusted_origins: tuple[str, ...] = (),
    ) -> None:
        self.signer, self.trust, self.keyring = signer, trust, keyring
        self._required, self._bind, self._trusted_origins = required, bind, trusted_origins

    # -- records

    def sign(self, repository: RepositoryName, manifest: bytes) -> bytes:
        """The record with a signature for this repository. The same record always gives the same bytes."""
        return manifest if self.signer is None else signed_records.sign(manifest, str(repository), self.signer)

    def verify(self, repository: RepositoryName, manifest: bytes) -> None:
        """Checks the record's signature. Raises `Untrusted`.

        If trusted keys are configured, a signature must be valid; a record without one is refused only if signatures
        are required.
        """
        if self.trust is None or not (self._required or signed_records.is_signed(manifest)):
            return
        signed_records.verify(manifest, str(repository), self.trust, self._bind, self._trusted_origins)

    # -- blobs

    def encrypt(
        self, repository: RepositoryName, digest: Digest, data: bytes, content: Content = Content.INSTRUCTIONS
    ) -> tuple[bytes, str]:
        """The bytes to store for ``data``, the instructions or other ``content`` of the layer ``digest``, and their
        envelope. Without a keyring these are ``data`` itself and an empty envelope."""
        if self.keyring is None:
            return data, ""
        blob_key, envelope = self.keyring.new_blob_key(str(repository))
        encryptor = StreamEncryptor(blob_key, content, str(digest))
        return encryptor.update(data) + encryptor.finish(), str(envelope)

    def decrypt(self, digest: Digest, data: bytes, envelope: str, content: Content = Content.INSTRUCTIONS) -> bytes:
        """The bytes that `encrypt` was given. Raises `KeyUnavailable`, `Corrupt`."""
        if not envelope:
            return data
        opener = self._opener(envelope, content, str(digest))
        return opener.update(data) + opener.finish()

    def encrypt_file(self, repository: RepositoryName, corpus_id: CorpusId, path: Path) -> tuple[Path, str]:
        """The file to store for a packed corpus, and its envelope. Without a keyring the file is ``path`` itself, else
        a new file in the same folder."""
        if self.keyring is None:
            return path, ""
        blob_key, envelope = self.keyring.new_blob_key(str(repository))
        encryptor = StreamEncryptor(blob_key, Content.CORPUS, corpus_id)
        encrypted = path.with_name(f"{path.name}.sealed")
        _convert(path, encrypted, encryptor.update, encryptor.finish)
        return encrypted, str(envelope)

    def decrypt_file(self, corpus_id: CorpusId, path: Path, envelope: str) -> Path:
        """``path``, which holds the decrypted packed corpus afterwards. Raises `KeyUnavailable`, `Corrupt`."""
        if not envelope:
            return path
        opener = self._opener(envelope, Content.CORPUS, corpus_id)
        clear = path.with_name(f"{path.name}.clear")
        _convert(path, clear, opener.update, opener.finish)
        return clear.replace(path)

    def rewrap(self, repository: RepositoryName, envelope: str) -> str:
        """The envelope, wrapped again under the repository's present key, for a record that is stored there now."""
        if not envelope:
            return envelope
        if self.keyring is None:
            raise KeyUnavailable("a blob is encrypted, and no keys were given (security.encryption.keys)")
        return str(self.keyring.rewrap(Envelope.parse(envelope), str(repository)))

    def _opener(self, envelope: str, content: Content, subject: str) -> StreamDecryptor:
        if self.keyring is None:
            raise KeyUnavailable(
                f"the {content.value} of {subject} are encrypted, and no keys were given (security.encryption.keys)"
            )
        return StreamDecryptor(self.keyring.open(Envelope.parse(envelope)), content, subject)


def load_protector(config: Config) -> Protector:
    """The protector that the configuration asks for. Reads key files, so it runs on a worker. Raises `UsageError`.

    The sidecar trusts its own signing key, unless a trusted key file says otherwise.
    """
    signing, encryption = config.security.signing, config.security.encryption
    signer = load_signer(signing.key) if signing.key else None
    trusted = list(load_trust(signing.trusted_keys))
    if signer is not None:
        trusted.append(TrustedKey(signer.public, source="security.signing.key"))
    keyring = Keyring.load(encryption.keys, encryption.repositories, read_secret) if encryption.keys else None
    return Protector(
        signer,
        TrustStore(trusted) if trusted else None,
        keyring,
        required=signing.required,
        bind=signing.bind,
        trusted_origins=signing.trusted_origins,
    )


def _convert(source: Path, target: Path, update: Callable[[bytes], bytes], finish: Callable[[], bytes]) -> None:
    """Writes ``target`` from ``source``, 1 MiB at a time. A failure leaves no ``target``."""
    try:
        with open(source, "rb") as reader, open(target, "xb") as writer:
            while piece := reader.read(_PIECE_BYTES):
                writer.write(update(piece))
            writer.write(finish())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
