"""Compares what two embedded stores hold: every byte but times and signatures.

`compare_stores` looks at all files below two store folders, `compare_caches` at the local state beside them. Blobs are
compared byte by byte. Manifests, ``index.json`` and referrer files are JSON that names manifests by digest, and a
manifest's digest follows from the time inside it, so these are parsed, and three kinds of values are masked before the
comparison: times (their format still counts), a receipt's seconds, and signatures. Order of keys, white space and
every other value must be the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CREATED = "org.opencontainers.image.created"
TAG = "org.opencontainers.image.ref.name"
RECEIPT = "io.reducto.receipt"
SIGNATURE = "io.reducto.signed.signature"
#: A larger blob is no manifest: the store refuses such manifests.
MANIFEST_LIMIT_BYTES = 4 << 20
#: Differing members told of each document.
_TOLD = 8
_READ_BYTES = 1 << 20
_COMPACT, _SPACED = (",", ":"), (", ", ": ")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in both stores, and where."""

    kind: str
    """``blob``, ``manifest``, ``index``, ``referrer``, ``file`` or ``cache``."""
    name: str
    """The file's path below the store, or the document's repository and tags."""
    detail: str
    """The first differing offset, or a JSON path with both values, or which store lacks it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Masked:
    """The content of a JSON file. Two that are equal stand for files that differ in times and signatures only."""

    value: Any
    separators: tuple[str, str] | None
    """None: ``value`` is the file's bytes, because writing the parsed value would give other ones."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON file whose times and signatures are masked."""

    kind: str
    masked: Masked


@dataclass(slots=True)
class StoreContent:
    """All files of one store: those compared as bytes, by path, and those compared as JSON, by name."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)

    def blob(self, digest: object) -> Path | None:
        """The file of a blob in any repository of the store."""
        end = f"/blobs/{str(digest).replace(':', '/')}"
        return next((path for name, path in self.files.items() if name.endswith(end)), None)


def compare_stores(old: Path, new: Path) -> list[Difference]:
    """The differences between two stores, given as the folders that ``upstream.url`` named."""
    ours, theirs = read_store(old), read_store(new)
    return [*_compare_documents(ours, theirs), *_compare_files(ours.files, theirs.files)]


def compare_caches(old: Path, new: Path) -> list[Difference]:
    """The differences between two ``cache.dir`` folders.

    Hint files (``*.json``) must be there in both. A cache may drop anything else at any time, so other files are
    compared where both have them. The hook index is left out because RocksDB writes times into its files.
    """
    ours, theirs = (_relative_files(root) for root in (old, new))
    names = {name for name in ours.keys() | theirs.keys() if not name.startswith("hooks/")}
    wanted = {name for name in names if name.endswith(".json") and "/" not in name} | (
        ours.keys() & theirs.keys() & names
    )
    found = _compare_files(*({name: path for name, path in side.items() if name in wanted} for side in (ours, theirs)))
    return [Difference("cache", each.name, each.detail) for each in found]


def read_store(root: Path) -> StoreContent:
    """All files below ``root``: bytes and masked documents. Raises `FileNotFoundError` if there is no such folder."""
    content = StoreContent(root, _relative_files(root))
    for home in sorted(root.rglob("_oci")):
        _read_repository(content, home)
    return content


# -- one repository's documents


def _read_repository(content: StoreContent, home: Path) -> None:
    repository = home.parent.relative_to(content.root).as_posix()
    folder = home.relative_to(content.root).as_posix()
    index = home / "index.json"
    entries = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    manifests = {f"{path.parent.name}:{path.name}": raw for path, raw in _manifests(home / "blobs")}
    names = _names_of(manifests, entries)
    for digest, raw in manifests.items():
        del content.files[f"{folder}/blobs/{digest.replace(':', '/')}"]
        content.documents[f"{repository} {names[digest]}"] = Document("manifest", mask(raw, names))
    if content.files.pop(f"{folder}/index.json", None) is not None:
        content.documents[repository] = Document("index", mask(index.read_bytes(), names))
    for marker in sorted(path for path in (home / "referrers").rglob("*") if path.is_file()):
        subject, manifest = marker.parent.name, names.get(f"sha256:{marker.name}", marker.name)
        del content.files[marker.relative_to(content.root).as_posix()]
        name = f"{repository} {manifest} of subject {subject}"
        content.documents[name] = Document("referrer", mask(marker.read_bytes(), names))


def _manifests(blobs: Path) -> Iterator[tuple[Path, bytes]]:
    """Blobs that are manifests, tagged or not: a replaced manifest may lie there unnamed until it is collected."""
    for path in sorted(each for each in blobs.rglob("*") if each.is_file()):
        if path.stat().st_size > MANIFEST_LIMIT_BYTES:
            continue
        raw = path.read_bytes()
        if raw[:1] != b"{" or b"schemaVersion" not in raw:
            continue
        try:
            document = json.loads(raw)
        except ValueError:
            continue
        if "schemaVersion" in document:
            yield path, raw


def _names_of(manifests: Mapping[str, bytes], entries: list[dict[str, Any]]) -> dict[str, str]:
    """Digest -> a name that does not depend on times: the manifest's tags, or the hash of its masked content."""
    tags: dict[str, list[str]] = {}
    for entry in entries:
        tag = entry.get("annotations", {}).get(TAG)
        tags.setdefault(entry["digest"], []).extend([tag] if tag else [])
    names: dict[str, str] = {}
    for digest in manifests.keys() | tags.keys():
        if tags.get(digest):
            names[digest] = ",".join(sorted(tags[digest]))
    seen: Counter[str] = Counter()
    for digest in sorted(manifests.keys() - names.keys()):
        hashed = hashlib.sha256(repr(mask(manifests[digest], {})).encode()).hexdigest()[:16]
        seen[hashed] += 1
        names[digest] = f"untagged-{hashed}-{seen[hashed]}"
    return names


# -- masking


def mask(raw: bytes, names: Mapping[str, str]) -> Masked:
    """``raw`` as JSON with its times and signatures masked, and digests of manifests replaced by ``names``."""
    value = json.loads(raw)
    for separators in (_COMPACT, _SPACED):
        if json.dumps(value, separators=separators).encode() == raw:
            return Masked(_masked(value, names), separators)
    return Masked(raw, None)


def _masked(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_masked(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    masked = {key: _masked_member(key, item, names) for key, item in value.items()}
    if value.get("digest") in names:
        masked |= {"digest": names[value["digest"]], "size": 0}
    return masked


def _masked_member(key: str, value: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return _masked(value, names)
    match key:
        case _ if key == CREATED:
            return re.sub(r"\d", "0", value)
        case _ if key == SIGNATURE:
            return "a signature"
        case _ if key == RECEIPT:
            return _masked_receipt(value)
    return value


def _masked_receipt(text: str) -> Any:
    """The JSON inside the text, so that paths lead into it; the text where writing that again would not give it."""
    receipt = json.loads(text)
    if json.dumps(receipt, separators=_COMPACT) != text:
        return text
    return {**receipt, "seconds": 0.0} if isinstance(receipt.get("seconds"), float) else receipt


# -- comparing


def _compare_documents(ours: StoreContent, theirs: StoreContent) -> Iterator[Difference]:
    for name in sorted(ours.documents.keys() | theirs.documents.keys()):
        old, new = ours.documents.get(name), theirs.documents.get(name)
        if old is None or new is None:
            yield Difference((old or new).kind, name, _missing(old is None))  # type: ignore[union-attr]
        elif old.masked.separators != new.masked.separators:
            yield Difference(old.kind, name, "the white space differs")
        else:
            found = list(differing_members(old.masked.value, new.masked.value))
            for path, left, right in found[:_TOLD]:
                values = f"{path} is {_short(left)} in the old store, {_short(right)} in the new"
                yield Difference(old.kind, name, values + _blob_offset(ours.blob(left), theirs.blob(right)))
            if len(found) > _TOLD:
                yield Difference(old.kind, name, f"{len(found) - _TOLD} more members differ")


def _blob_offset(old: Path | None, new: Path | None) -> str:
    """The text about the first difference between the blobs that two digests name; empty if they name no blobs."""
    if old is None or new is None:
        return ""
    offset = first_differing_offset(old, new)
    return f" ({old.stat().st_size} and {new.stat().st_size} bytes, the first difference at byte {offset})"


def _compare_files(ours: Mapping[str, Path], theirs: Mapping[str, Path]) -> Iterator[Difference]:
    for name in sorted(ours.keys() | theirs.keys()):
        kind = "blob" if "/blobs/" in name or name.startswith("_pool/") else "file"
        old, new = ours.get(name), theirs.get(name)
        if old is None or new is None:
            yield Difference(kind, name, _missing(old is None))
        elif (offset := first_differing_offset(old, new)) is not None:
            sizes = f"{old.stat().st_size} and {new.stat().st_size} bytes"
            yield Difference(kind, name, f"the first difference is at byte {offset} ({sizes})")


def differing_members(old: Any, new: Any, path: str = "$") -> Iterator[tuple[str, Any, Any]]:
    """The JSON paths at which two values differ, with both values there.

    Where one list is longer its end is left out, and where the keys of two objects or their order differ the members
    are not looked at: the path of the list or the object is given instead.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        if list(old) != list(new):
            yield f"{path} (its keys)", list(old), list(new)
            return
        for key in old:
            yield from differing_members(old[key], new[key], f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        for at, (left, right) in enumerate(zip(old, new, strict=False)):
            yield from differing_members(left, right, f"{path}[{at}]")
        if len(old) != len(new):
            yield f"{path} (its length)", len(old), len(new)
    elif type(old) is not type(new) or old != new:
        yield path, old, new


def first_differing_offset(old: Path, new: Path) -> int | None:
    """The offset of the first byte that differs, the shorter length if one file begins like the other, or None."""
    if old.samefile(new):
        return None
    offset = 0
    with old.open("rb") as ours, new.open("rb") as theirs:
        while True:
            left, right = ours.read(_READ_BYTES), theirs.read(_READ_BYTES)
            if left != right:
                pairs = enumerate(zip(left, right, strict=False))
                return offset + next((at for at, both in pairs if both[0] != both[1]), min(len(left), len(right)))
            if not left:
                return None
            offset += len(left)


def _relative_files(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}


def _missing(in_old: bool) -> str:
    return f"only the {'new' if in_old else 'old'} store has it"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]}... ({len(text)} characters)"
