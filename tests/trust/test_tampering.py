"""Every kind of object times every kind of change, in a store behind a running sidecar: noticed, and never served.

The rows are what lies in a registry; the columns are what somebody can do to it who writes to the registry's storage
(bytes under the old name) or past the sidecar (an object under a name of its own). ``sealed``: with signatures required
and encryption; ``bare``: with neither, when only digests stand between a forger and a client. The audit log's row is
at the end; single bits of each format are flipped in the unit tests, base corpora in tests/corpus and tests/fetch.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reducto.crypt import generate_kek
from reducto.trust import audit_chain
from reducto.trust.key_files import generate_key, write_private_file
from reducto.trust.signatures import Signer, TrustStore
from reducto.trust.signed_records import sign
from tests.trust.forging import BLOBS, RECORDS, Forger, Stored, edited, other_length, other_original, unsigned
from tests.trust.sidecars import MANIFEST_TYPE, Client, config_of, layer_of, sidecar, words

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
APP, OTHER = "team/app", "team/other"
OBJECTS = [*RECORDS, *BLOBS]


@dataclass
class Pushed:
    """A store with two repositories, and everything that a client may get out of it."""

    root: Path
    security: dict[str, Any]
    answers: dict[str, bytes] = field(default_factory=dict)
    """Path -> the one right body."""
    tags: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module", params=["sealed", "bare"])
def pushed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    """Two versions of an image and an index of them in one repository, another image in the other."""
    folder = tmp_path_factory.mktemp(request.param)
    security: dict[str, Any] = {}
    if request.param == "sealed":
        files = generate_key(folder / "signing.pem")
        write_private_file(folder / "kek", generate_kek().encode())
        security["signing"] = {"key": str(files.private), "trusted_keys": [str(files.public)], "required": True}
        security["encryption"] = {"keys": [str(folder / "kek")]}
    made = Pushed(folder / "store", security)
    asyncio.run(_push_all(made, folder))
    return made


async def _push_all(made: Pushed, folder: Path) -> None:
    async with sidecar(config_of(folder / "push", made.root, made.security)) as client:
        children = [
            await _push(client, made, APP, f"v{n}", {f"file-{i}": words(i, 60_000) for i in range(6 + n)})
            for n in range(2)
        ]
        await _push(client, made, OTHER, "v0", {f"else-{i}": words(100 + i, 60_000) for i in range(6)})
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": children}).encode()
        url = f"{client.base}/v2/{APP}/manifests/multi"
        async with client.session.put(url, data=index, headers={"Content-Type": INDEX_TYPE}) as answer:
            assert answer.status == 201
        made.answers[f"/v2/{APP}/manifests/sha256:{hashlib.sha256(index).hexdigest()}"] = index
        made.tags[f"/v2/{APP}/manifests/multi"] = index


async def _push(client: Client, made: Pushed, repository: str, tag: str, files: dict[str, bytes]) -> dict[str, Any]:
    layer = layer_of(files)
    digest, manifest = await client.push_image(repository, tag, layer)
    made.answers[f"/v2/{repository}/blobs/sha256:{hashlib.sha256(layer).hexdigest()}"] = layer
    made.answers[f"/v2/{repository}/manifests/{digest}"] = manifest
    made.tags[f"/v2/{repository}/manifests/{tag}"] = manifest
    return {"mediaType": MANIFEST_TYPE, "digest": digest, "size": len(manifest)}


Forge = Callable[[Forger], None]


async def attack(made: Pushed, tmp_path: Path, forge: Forge, kind: str, *, by_tag: bool = False) -> list[str]:
    """Lets somebody forge a copy of the store, asks a fresh sidecar for everything, and names what was refused.

    Fails when an answer is neither right nor an error that says so.
    """
    shutil.copytree(made.root, tmp_path / "store")
    forger = Forger(tmp_path / "store")
    asked = {**made.answers, **(made.tags if by_tag else {})}
    if kind == "layer record":  # an image's record says the same of its layers, and would be believed instead
        forger.drop(APP, ("image record", "index record"))
        asked = {path: body for path, body in made.answers.items() if path.startswith(f"/v2/{APP}/blobs/")}
    forge(forger)
    refused = []
    async with sidecar(config_of(tmp_path / "fresh", tmp_path / "store", made.security)) as client:
        for path, right in asked.items():
            status, body = await client.get(path, Accept=f"{MANIFEST_TYPE}, {INDEX_TYPE}")
            if status == 200:
                assert body == right, f"{path} gives something else"
                continue
            refused.append(path)
            if status:  # otherwise the connection broke in the middle of the body
                error = json.loads(body)["errors"][0]
                assert error["code"]
                assert error["message"]
    return refused


@pytest.mark.parametrize("kind", OBJECTS)
async def test_without_a_change_everything_is_served(pushed: Pushed, tmp_path: Path, kind: str) -> None:
    assert await attack(pushed, tmp_path, lambda forger: None, kind, by_tag=True) == []


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 16
    return bytes(changed)


#: What an object's bytes become, given them, those of a sibling in the same repository, and those of one elsewhere.
CHANGES: dict[str, Callable[[bytes, bytes, bytes], bytes]] = {
    "first byte changed": lambda data, sibling, elsewhere: flipped(data, 0),
    "a byte in the middle changed": lambda data, sibling, elsewhere: flipped(data, len(data) // 2),
    "last byte changed": lambda data, sibling, elsewhere: flipped(data, -1),
    "cut in half": lambda data, sibling, elsewhere: data[: len(data) // 2],
    "last byte cut": lambda data, sibling, elsewhere: data[:-1],
    "emptied": lambda data, sibling, elsewhere: b"",
    "extended": lambda data, sibling, elsewhere: data + b"\0",
    "exchanged with a sibling": lambda data, sibling, elsewhere: sibling,
    "exchanged with one of another repository": lambda data, sibling, elsewhere: elsewhere,
}


def changed(forger: Forger, kind: str, change: str) -> tuple[Stored, bytes]:
    """The object that is attacked, and what it becomes."""
    ours = forger.find(APP, kind)
    siblings = [one for one in ours if one.digest != ours[0].digest]
    elsewhere = forger.find(OTHER, kind)
    if (not siblings and "sibling" in change) or (not elsewhere and "another repository" in change):
        pytest.skip(f"there is only one {kind}")
    others = [found[0].data if found else b"" for found in (siblings, elsewhere)]
    return ours[0], CHANGES[change](ours[0].data, *others)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", OBJECTS)
async def test_other_bytes_under_the_same_name(pushed: Pushed, tmp_path: Path, kind: str, change: str) -> None:
    def forge(forger: Forger) -> None:
        stored, data = changed(forger, kind, change)
        forger.overwrite(stored, data)

    refused = await attack(pushed, tmp_path, forge, kind)
    if pushed.security or kind in BLOBS:  # without signatures, a record's remarks are anybody's
        assert refused, "nobody noticed"


#: What the forger has to sign a changed record with.
SIGNATURES: dict[str, Callable[[Forger, bytes], bytes]] = {
    "the old signature": lambda forger, data: data,
    "no signature": lambda forger, data: unsigned(data),
    "a stranger's signature": lambda forger, data: sign(data, APP, forger.stranger),
}


@pytest.mark.slow
@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", BLOBS)
async def test_a_record_that_names_a_forged_blob(
    pushed: Pushed, tmp_path: Path, kind: str, change: str, signature: str
) -> None:
    """The blob has a name of its own, and every record that named the old one names it."""

    def forge(forger: Forger) -> None:
        stored, data = changed(forger, kind, change)
        name = forger.put_blob(APP, data)

        def rename(document: dict[str, Any]) -> None:
            for layer in document["layers"]:
                if layer["digest"] == str(stored.digest):
                    layer |= name

        for record in [*forger.find(APP, "layer record"), *forger.find(APP, "image record")]:
            if str(stored.digest) in record.data.decode():
                forger.put_record(record, SIGNATURES[signature](forger, edited(record.data, rename)))

    assert await attack(pushed, tmp_path, forge, kind, by_tag=bool(pushed.security)), "nobody noticed"


EDITS = {"layer record": other_length, "image record": other_original, "index record": other_original}


@pytest.mark.parametrize("edit", ["another content", "the same content"])
@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("kind", RECORDS)
async def test_a_forged_record(pushed: Pushed, tmp_path: Path, kind: str, signature: str, edit: str) -> None:
    def forge(forger: Forger) -> None:
        for record in forger.find(APP, kind):
            data = record.data if edit == "the same content" else edited(record.data, EDITS[kind])
            forger.put_record(record, SIGNATURES[signature](forger, data))

    refused = await attack(pushed, tmp_path, forge, kind, by_tag=bool(pushed.security))
    nothing = edit == "the same content" and signature == "the old signature"
    if pushed.security:
        assert bool(refused) is not nothing
    elif edit == "another content":
        assert refused, "nobody noticed"


@pytest.mark.parametrize("kind", RECORDS)
async def test_a_record_under_the_name_of_another(pushed: Pushed, tmp_path: Path, kind: str) -> None:
    """Good records of one repository, each under the other's tag: found by what they hold, whatever they are called."""

    def forge(forger: Forger) -> None:
        records = [one for one in forger.find(APP, kind) if one.tag.startswith("reducto-")]
        if len(records) < 2:
            pytest.skip(f"there is only one {kind}")
        contents = [one.data for one in records]
        for record, data in zip(records, contents[1:] + contents[:1], strict=True):
            forger.put_record(record, data)

    await attack(pushed, tmp_path, forge, kind)


@pytest.mark.parametrize("kind", RECORDS)
async def test_a_record_replayed_in_another_repository(pushed: Pushed, tmp_path: Path, kind: str) -> None:
    """A record with everything that it names, in a repository that it was not made for."""
    shutil.copytree(pushed.root, tmp_path / "store")
    forger = Forger(tmp_path / "store")
    forger.copy_blobs(APP, OTHER)
    records = forger.find(APP, kind)
    for record in records:
        forger.put_record(replace(record, repository=OTHER), record.data)
    async with sidecar(config_of(tmp_path / "fresh", tmp_path / "store", pushed.security)) as client:
        for path, right in pushed.answers.items():
            if path.startswith(f"/v2/{APP}/"):
                status, body = await client.get(path.replace(APP, OTHER))
                assert (status, body) == (200, right) if not pushed.security and status == 200 else status >= 400
    assert records


async def test_a_strangers_record_gets_and_spoils_nothing(pushed: Pushed, tmp_path: Path) -> None:
    """Pulls of one blob share a rebuild and its outcome, not with those whose record has another recipe for it: who may
    push to some repository must not get, or spoil, what others hold by just naming its digest."""
    if pushed.security:
        pytest.skip("the forged record is refused before it is used")
    shutil.copytree(pushed.root, tmp_path / "store")
    forger = Forger(tmp_path / "store")
    forger.copy_blobs(APP, "evil/app")
    name = forger.put_blob("evil/app", b"no instructions")
    for record in forger.find(APP, "layer record"):

        def rename(document: dict[str, Any]) -> None:
            document["layers"][0] |= name

        forger.put_record(replace(record, repository="evil/app"), edited(record.data, rename))
    blobs = [path for path in pushed.answers if path.startswith(f"/v2/{APP}/blobs/")]
    async with sidecar(config_of(tmp_path / "fresh", tmp_path / "store")) as client:
        for _ in range(3):  # the first rebuilds, the others are warm
            paths = [name for path in blobs for name in (path.replace(APP, "evil/app"), path)]
            answers = await asyncio.gather(*(client.get(path) for path in paths))
            assert all(status != 200 for status, _ in answers[::2])
            assert [body for _, body in answers[1::2]] == [pushed.answers[path] for path in blobs]


async def test_a_pushed_record_must_be_believable(pushed: Pushed, tmp_path: Path) -> None:
    """Clients may copy images as they are stored, through the sidecar, unless it would refuse to serve them."""
    shutil.copytree(pushed.root, tmp_path / "store")
    forger = Forger(tmp_path / "store")
    record = forger.find(APP, "image record")[0].data
    async with sidecar(config_of(tmp_path / "fresh", tmp_path / "store", pushed.security)) as client:

        async def put(data: bytes) -> int:
            url = f"{client.base}/v2/{APP}/manifests/copied"
            async with client.session.put(url, data=data, headers={"Content-Type": MANIFEST_TYPE}) as answer:
                if answer.status != 201:
                    assert (await answer.json())["errors"][0]["code"] == "MANIFEST_INVALID"
                return answer.status

        assert await put(record) == 201
        assert await put(edited(record, lambda document: document["annotations"].pop("io.reducto.manifest"))) == 400
        for forge in (unsigned, lambda data: sign(data, APP, forger.stranger)):
            assert await put(forge(record)) == (400 if pushed.security else 201)


# -- the audit log

SIGNER = Signer.generate()


def audit_lines(name: str, count: int = 6) -> list[bytes]:
    """A log with two checkpoints."""
    head, lines = audit_chain.Head(), []
    for number in range(count):
        line, head = audit_chain.write_line(head, "event", {"repository": name, "number": number})
        lines.append(line + b"\n")
        if number % 3 == 2:
            line, head = audit_chain.checkpoint(head, SIGNER)
            lines.append(line + b"\n")
    return lines


OURS, THEIRS = audit_lines(APP), audit_lines(OTHER)
AUDIT_CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a word changed": lambda lines: [lines[0], lines[1].replace(b'"number":1', b'"number":9'), *lines[2:]],
    "a line dropped": lambda lines: lines[:2] + lines[3:],
    "a line repeated": lambda lines: [*lines[:2], *lines[1:]],
    "lines exchanged": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a line cut short": lambda lines: [lines[0][:40] + b"\n", *lines[1:]],
    "a line of another log": lambda lines: [*lines[:4], THEIRS[4], *lines[5:]],
    "a checkpoint of another log": lambda lines: [*lines[:3], THEIRS[3], *lines[4:]],
    "the end of another log": lambda lines: lines[:4] + THEIRS[4:],
    "the beginning of another log": lambda lines: THEIRS[:4] + lines[4:],
    "all written anew by a stranger": lambda lines: _anew(lines, Signer.generate()),
    "an old line chained anew": lambda lines: _anew(lines, None),
}


def _anew(lines: list[bytes], signer: Signer | None) -> list[bytes]:
    """The log with another content, its chain right, its checkpoints the old ones or a stranger's."""
    head, out = audit_chain.Head(), []
    for line in lines:
        entry = json.loads(line.replace(APP.encode(), b"team/forged"))
        if entry["kind"] == "checkpoint" and signer is not None:
            made, head = audit_chain.checkpoint(head, signer, entry["time"])
        else:
            made, head = audit_chain.write_line(head, entry["kind"], entry["event"], entry["time"])
        out.append(made + b"\n")
    return out


@pytest.mark.parametrize("change", AUDIT_CHANGES)
def test_a_changed_audit_log(change: str) -> None:
    trust = TrustStore.of(SIGNER)
    assert audit_chain.verify([("log", OURS)], trust).checkpoints == 2
    with pytest.raises(audit_chain.AuditBroken):
        audit_chain.verify([("log", AUDIT_CHANGES[change](list(OURS)))], trust)


@pytest.mark.parametrize("left", [0, 1, 5])
def test_a_cut_off_end_of_the_audit_log_shows(left: int) -> None:
    """The chain cannot tell; what is missing is the checkpoint that should have come by now."""
    report = audit_chain.verify([("log", OURS[:left])], TrustStore.of(SIGNER))
    whole = audit_chain.verify([("log", OURS)], TrustStore.of(SIGNER))
    assert report.checkpoints < whole.checkpoints
    assert (report.last_checkpoint_seq or -1) < (whole.last_checkpoint_seq or -1)
