"""The commands on keys, ``reducto keys``: signing keys, key-encryption keys, and API keys of the control port."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reducto.cli.context import Context
from reducto.config.fields import parse_seconds
from reducto.errors import UsageError
from reducto.trust.api_keys import ApiKey, ApiKeys, ApiScope
from reducto.trust.key_files import (
    generate_key,
    load_signer,
    load_trust,
    parse_public_key,
    read_secret,
    rotate_key,
    write_private_file,
)
from reducto.trust.signatures import KeyState, TrustedKey


def describe(key: TrustedKey) -> dict[str, Any]:
    """The properties of a public key, as a JSON object."""
    return {
        "key_id": key.key_id,
        "state": key.state.value,
        "purposes": sorted(key.purposes),
        "not_after": key.not_after.isoformat() if key.not_after else None,
        "source": key.source,
    }


class KeysGenerate:
    """Makes a key and writes it to a file of mode 0600. The public half of a signing key goes to a file beside it."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="file to write the private key to")
        parser.add_argument(
            "--kind",
            choices=["signing", "kek"],
            default="signing",
            help="signing: Ed25519 key pair (default); kek: AES-256 key that wraps the keys of encrypted blobs",
        )
        parser.add_argument("--comment", default="", help="a line in the public key's file, such as the key's owner")
        _add_trust_dir(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        if arguments.kind == "kek":
            return self._kek(arguments.path, context)
        files = generate_key(arguments.path, arguments.comment, arguments.trust_dir)
        document = {"key_id": files.signer.key_id, "private": str(files.private), "public": str(files.public)}
        context.console.result(document, f"key {files.signer.key_id}\nprivate {files.private}\npublic  {files.public}")
        return 0

    def _kek(self, path: Path, context: Context) -> int:
        from reducto.crypt import Keyring, generate_kek

        text = generate_kek()
        write_private_file(path, text.encode() + b"\n")
        key_id = Keyring.load([str(path)], [], read_secret).key_ids[0]
        context.console.result({"key_id": key_id, "private": str(path)}, f"key {key_id}\nprivate {path}")
        context.console.note("keep a copy of the key elsewhere, because data encrypted under it are lost without it")
        return 0


class KeysShow:
    """Shows the ids and states of keys in files, or of the keys that the configuration names. Shows no private key."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "source", nargs="*", help="key files, directories, or env:NAME (default: the configuration's keys)"
        )

    def run(self, arguments: Namespace, context: Context) -> int:
        security = context.config.security
        if arguments.source:
            shown = [row for source in arguments.source for row in _rows_of(source)]
        else:
            shown = [describe(key) for key in context.trust() or ()]
            if security.signing.key:
                shown.append(
                    {"key_id": load_signer(security.signing.key).key_id, "state": "signs", "source": "signing"}
                )
        text = "\n".join(f"{row['key_id']}  {row['state']:8}  {row['source']}" for row in shown)
        context.console.result({"keys": shown}, text or "no keys")
        return 0


def _rows_of(source: str) -> list[dict[str, Any]]:
    if source.startswith("env:") or not Path(source).is_dir():
        content = read_secret(source) if source.startswith("env:") else _read(Path(source))
        if b"PRIVATE KEY-----" in content:
            return [{"key_id": load_signer(source).key_id, "state": "private", "source": source}]
        if b"PUBLIC KEY-----" in content:
            return [describe(parse_public_key(content.decode(), source))]
        from reducto.crypt import Keyring

        return [{"key_id": Keyring.load([source], [], read_secret).key_ids[0], "state": "kek", "source": source}]
    return [describe(key) for key in load_trust([source])]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"key file {path} cannot be read: {error.strerror}") from None


class KeysRotate:
    """Replaces a signing key by a new one.

    The old public key stays trusted with the state retired, so everything that the old key signed stays valid.
    """

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="file of the private key to replace")
        parser.add_argument("--comment", default="", help="a line in the files of the new and the old public key")
        _add_trust_dir(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        files, aside = rotate_key(arguments.path, arguments.comment, arguments.trust_dir)
        document = {
            "key_id": files.signer.key_id,
            "private": str(files.private),
            "public": str(files.public),
            "retired_private": str(aside),
        }
        lines = [f"key {files.signer.key_id}", f"private {files.private}", f"public  {files.public}"]
        context.console.result(document, "\n".join([*lines, f"retired {aside}"]))
        context.console.note(
            f"first give {files.public} to every verifier, then restart the signers, then destroy {aside}"
        )
        return 0


class KeysRevoke:
    """Marks a public key as revoked, so that nothing it signed is accepted any more."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="file of the public key to revoke")

    def run(self, arguments: Namespace, context: Context) -> int:
        from reducto.trust.key_files import format_public_key

        key = parse_public_key(_read(arguments.path).decode(), str(arguments.path))
        revoked = TrustedKey(key.public, KeyState.REVOKED, key.purposes, key.not_after, key.source)
        arguments.path.write_text(format_public_key(revoked))
        context.console.result(describe(revoked), f"key {key.key_id} is revoked in {arguments.path}")
        return 0


def _add_trust_dir(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--trust-dir", type=Path, metavar="DIR", help="directory of public keys (default: beside the private key)"
    )


class KeysApiCreate:
    """Makes an API key of the control port and shows its token once, because only a hash of it is stored."""

    def configure(self, parser: ArgumentParser) -> None:
        _add_file(parser)
        parser.add_argument("--name", required=True, help="name of the person or program that uses the key")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=[s.value for s in ApiScope],
            help="what the key may be used for; may be repeated",
        )
        parser.add_argument(
            "--expires-in", metavar="TIME", help="how long the key is valid, such as 90d (default: for ever)"
        )

    def run(self, arguments: Namespace, context: Context) -> int:
        path = _api_file(arguments, context)
        keys = _load_api_keys(path) if path.exists() else ApiKeys()
        expires = None
        if arguments.expires_in:
            try:
                expires = datetime.now(UTC) + timedelta(seconds=parse_seconds(arguments.expires_in))
            except ValueError as error:
                raise UsageError(f"--expires-in {error}") from None
        key, token = ApiKey.create(arguments.name, map(ApiScope, arguments.scope), expires)
        write_private_file(path, keys.with_key(key).to_text().encode(), replace=True)
        context.console.result({"id": key.key_id, "token": token}, token)
        context.console.note(f"key {key.key_id} is in {path}; its token is shown only this once")
        return 0


class KeysApiList:
    """Lists the API keys with their names, scopes and ends. Tokens cannot be listed, because only hashes are stored."""

    def configure(self, parser: ArgumentParser) -> None:
        _add_file(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        rows = [key.to_json() for key in _load_api_keys(_api_file(arguments, context))]
        for row in rows:
            del row["hash"]
        text = "\n".join(
            f"{r['id']}  {','.join(r['scopes']):16}  {r['expires'] or 'no end':25}  {r['name']}" for r in rows
        )
        context.console.result({"keys": rows}, text or "no API keys")
        return 0


class KeysApiRevoke:
    """Removes an API key. A running sidecar refuses it within a second."""

    def configure(self, parser: ArgumentParser) -> None:
        _add_file(parser)
        parser.add_argument("id", help="id of the API key to revoke, as shown by reducto keys api list")

    def run(self, arguments: Namespace, context: Context) -> int:
        path = _api_file(arguments, context)
        keys = _load_api_keys(path).without(arguments.id)
        write_private_file(path, keys.to_text().encode(), replace=True)
        context.console.result({"revoked": arguments.id}, f"key {arguments.id} is revoked")
        return 0


def _add_file(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--file",
        type=Path,
        help="file of hashed API keys (default: security.access.api_keys_file of the configuration)",
    )


def _api_file(arguments: Namespace, context: Context) -> Path:
    chosen: Path | None = arguments.file or context.config.security.access.api_keys_file
    if chosen is None:
        raise UsageError("give the file of API keys by --file, or set security.access.api_keys_file")
    return chosen


def _load_api_keys(path: Path) -> ApiKeys:
    return ApiKeys.parse(_read(path).decode("utf-8", "replace"))
