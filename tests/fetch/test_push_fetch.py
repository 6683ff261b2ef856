"""Corpora over real registries and web servers: what arrives is what was sent, or an error."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from oras.client import OrasClient

from corpus_builder.build import BuildOptions, build
from corpus_builder.catalogue import Catalogue
from corpus_builder.images import image_layers
from corpus_builder.part_writer import PartOptions
from corpus_builder.sources import Trust, collect
from reducto.cli import main
from reducto.config.fields import Bytes
from reducto.config.schema import CorpusOptions
from reducto.corpus.reader import Corpus
from reducto.errors import Corrupt, NotReducto, UsageError
from reducto.fetch.artifact import ARTIFACT_TYPE, CorpusArtifact
from reducto.fetch.blocking import BlockingRepository
from reducto.fetch.corpora import CorpusFinder
from reducto.kernel.chunking import ChunkParams
from reducto.oci.address import RegistryAddress
from reducto.oci.names import Tag
from reducto.oci.registry_errors import NotInRegistry, RegistryError
from reducto.trust.key_files import generate_key
from reducto.values import Digest
from tests.corpus.samples import noise, write_small
from tests.corpus_builder.samples import tar_of, write_layout, write_tree
from tests.support.registries import Htpasswd, Registry
from tests.support.token_server import PULL, PUSH, TokenServer

StartRegistry = Callable[..., Registry]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of the test's own, with its configuration and its docker credentials."""
    home = tmp_path / "home"
    (home / ".config" / "reducto").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / ".docker"))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "REDUCTO_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as at_end:
        yield at_end


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """The JSON result of a command that must succeed."""
    exit_code = main([*map(str, words), "--json"])
    shown = capsys.readouterr()
    assert exit_code == 0, shown.err
    return dict(json.loads(shown.out))


def finder(cache: Path, **options: Any) -> CorpusFinder:
    return CorpusFinder(CorpusOptions(cache_dir=cache, **options))


@pytest.fixture
def keys(tmp_path: Path) -> Any:
    return generate_key(tmp_path / "key.pem")


@pytest.fixture
def golden(tmp_path: Path, keys: Any) -> list[Path]:
    """A signed corpus in two files, with everything that a corpus may have."""
    files = {f"lib/module{n}.py": b"import os, sys\n" * 30 + noise(3000, n) for n in range(40)}
    catalogue = tmp_path / "catalogue"
    for number in (1, 2):
        tree = write_tree(
            tmp_path / f"tree{number}", {f"v{number}/{k}": v + noise(9, number) for k, v in files.items()}
        )
        arguments = ["--input", tree, "--output", tmp_path / "golden.rc", "--catalogue", catalogue]
        words = ["corpus", "build", *arguments, "--sign", keys.private, "--name", "golden-v1", "--chunk-size", "2KiB"]
        assert main([*map(str, words), "--quiet"]) == 0
    return [tmp_path / "golden.rc", tmp_path / "golden-002.rc"]


# -- registries --------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_what_is_fetched_is_what_was_pushed_byte_for_byte(
    each_registry: Registry, golden: list[Path], keys: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    address = f"oci://{each_registry.host}/corpora/base:golden-v1"
    named = [word for path in golden for word in ("--corpus", path)]
    pushed = run(capsys, "corpus", "push", *named, "--to", address)
    assert len(pushed["ids"]) == 2
    out = tmp_path / "out"
    out.mkdir()
    fetched = run(capsys, "corpus", "fetch", "--corpus-id", address, "--output", out, "--trust", keys.public)
    assert [d["id"] for d in fetched["fetched"]] == pushed["ids"]
    for path, document in zip(golden, fetched["fetched"], strict=True):
        assert Path(document["path"]).read_bytes() == path.read_bytes()
        assert document["signature_checked"]
    again = run(capsys, "corpus", "push", *named, "--to", address)
    assert again == pushed


@pytest.mark.integration
def test_a_name_is_looked_up_in_the_repositories_and_then_cached(
    registry: Registry, golden: list[Path], home: Path, keys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    settings = f'[corpus]\nrepositories = ["{home}", "oci://{registry.host}/empty", "oci://{registry.host}/corpora"]\n'
    trusted = f'[security.signing]\ntrusted_keys = ["{keys.public}"]\n'
    (home / ".config" / "reducto" / "config.toml").write_text(settings + trusted)
    run(capsys, "corpus", "push", "--corpus", golden[0], "--to", f"oci://{registry.host}/corpora:golden-v1")
    fetched = run(capsys, "corpus", "fetch", "--corpus-id", "golden-v1", "--local-cache")
    cache = home / ".cache" / "reducto" / "corpora"
    assert fetched["fetched"][0]["path"] == str(cache / f"{fetched['fetched'][0]['id']}.rc")
    registry.daemon.stop()
    verified = run(capsys, "corpus", "verify", "--corpus", "golden-v1", "--quiet")
    assert verified["verified"][0]["id"] == fetched["fetched"][0]["id"]
    assert main(["corpus", "verify", "--corpus", "golden-v2"]) == 1  # it may exist where nobody answers


@pytest.mark.integration
def test_credentials_of_docker_login_are_used(
    start_registry: StartRegistry, golden: list[Path], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start_registry("docker-registry", Htpasswd())
    address = f"oci://{registry.host}/corpora:golden-v1"
    words = ["corpus", "push", "--corpus", str(golden[0]), "--to", address]
    assert main(words) == 1
    assert "401" in capsys.readouterr().err
    (home / ".docker").mkdir()
    basic = "YWxpY2U6d29uZGVybGFuZA=="  # alice:wonderland
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": basic}}}))
    assert run(capsys, *words)["ids"]
    fetched = run(capsys, "corpus", "fetch", "--corpus-id", address, "--allow-unsigned")
    assert fetched["fetched"][0]["name"] == "golden-v1"


@pytest.mark.integration
def test_tokens_are_asked_for_with_the_scope_that_each_request_needs(
    start_registry: StartRegistry, golden: list[Path], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TokenServer({"alice": "wonderland"}, {"alice": {"team/*": PUSH}, "": {"*": PULL}}) as tokens:
        registry = start_registry("docker-registry", tokens)
        basic = base64.b64encode(b"alice:wonderland").decode()
        (home / ".docker").mkdir()
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": basic}}}))
        address = f"oci://{registry.host}/team/corpora:golden-v1"
        capsys.readouterr()
        assert run(capsys, "corpus", "push", "--corpus", golden[0], "--to", address)["ids"]
        assert run(capsys, "corpus", "fetch", "--corpus-id", address, "--allow-unsigned")["fetched"]


@pytest.mark.integration
def test_the_oras_client_sees_an_ordinary_artifact(
    registry: Registry, golden: list[Path], make_client: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(capsys, "corpus", "push", "--corpus", golden[0], "--to", f"oci://{registry.host}/corpora:v1")
    oras = make_client("oras")
    oras.pull(f"{registry.host}/corpora:v1")
    with BlockingRepository(RegistryAddress.parse(f"{registry.host}/corpora:v1")) as repository:
        document = json.loads(repository.manifest().data)
    assert document["artifactType"] == ARTIFACT_TYPE


@pytest.mark.integration
def test_the_oras_library_pulls_the_very_blobs(
    registry: Registry, golden: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run(capsys, "corpus", "push", "--corpus", golden[0], "--to", f"oci://{registry.host}/corpora:v1")
    pulled = OrasClient(hostname=registry.host, insecure=True).pull(
        target=f"{registry.host}/corpora:v1", outdir=str(tmp_path / "pulled")
    )
    with BlockingRepository(RegistryAddress.parse(f"{registry.host}/corpora:v1")) as repository:
        (part,) = CorpusArtifact.parse(repository.manifest().data).parts
    contents = {Path(path).name: Digest.of(Path(path).read_bytes()) for path in pulled}
    assert contents == {"golden.rcp": part.packed.digest, "golden.json": part.info.digest}


@pytest.mark.integration
def test_a_damaged_blob_in_the_registry_is_never_used(
    registry: Registry, golden: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    address = f"oci://{registry.host}/corpora:v1"
    run(capsys, "corpus", "push", "--corpus", golden[0], "--to", address)
    largest = max((p for p in registry.storage.rglob("data") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(Corrupt, match="other content or length"):
        finder(tmp_path / "cache").find(address)
    assert not list((tmp_path / "cache").glob("*.rc"))


@pytest.mark.integration
def test_an_image_is_no_corpus(registry: Registry, tmp_path: Path) -> None:
    with BlockingRepository(RegistryAddress.parse(f"{registry.host}/images:v1")) as repository:
        config = repository.upload_bytes(b"{}", "application/vnd.oci.image.config.v1+json").to_json()
        manifest = {"schemaVersion": 2, "config": config, "layers": []}
        media_type = "application/vnd.oci.image.manifest.v1+json"
        repository.put_manifest(json.dumps({"mediaType": media_type, **manifest}).encode(), media_type, Tag("v1"))
    with pytest.raises(NotReducto, match="not a corpus artifact"):
        finder(tmp_path / "cache").find(f"oci://{registry.host}/images:v1")
    with pytest.raises(NotInRegistry):
        finder(tmp_path / "cache").find(f"oci://{registry.host}/images:v2")


@pytest.mark.integration
def test_images_in_a_registry_are_built_from_like_a_layout(
    registry: Registry, tmp_path: Path, stack: ExitStack
) -> None:
    layers = [tar_of({f"app/{k}/{n}": noise(5000, 100 * k + n) for n in range(9)}) for k in range(3)]
    layout = write_layout(tmp_path / "layout", [layers[:2], [layers[0], layers[2]]])
    index = json.loads((layout / "index.json").read_text())
    repository = stack.enter_context(BlockingRepository(RegistryAddress.parse(f"{registry.host}/apps/one:latest")))
    for blob in (layout / "blobs" / "sha256").iterdir():
        repository.upload(blob, "application/octet-stream")
    for number, entry in enumerate(index["manifests"]):
        content = (layout / "blobs" / "sha256" / entry["digest"].partition(":")[2]).read_bytes()
        repository.put_manifest(content, entry["mediaType"], Tag(f"child{number}"))
    index["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    index["manifests"][1]["platform"] = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    media_type = "application/vnd.oci.image.index.v1+json"
    repository.put_manifest(json.dumps(index | {"mediaType": media_type}).encode(), media_type, Tag("latest"))

    spool = tmp_path / "spool"
    everything = image_layers(repository, spool, frozenset())
    assert [layer.weight for layer in everything] == [2, 1, 1]
    assert len(image_layers(repository, spool, frozenset({"linux/arm64"}))) == 2
    assert len(image_layers(repository, spool, frozenset({"linux/arm64/v8", "linux/amd64"}))) == 3
    assert image_layers(repository, spool, frozenset({"windows/amd64"})) == []

    chunking = ChunkParams(1024)
    for name, sources in (("image", everything), ("layout", list(collect(layout, Trust())))):
        with Catalogue(tmp_path / f"{name}.catalogue", chunking) as catalogue:
            build(sources, catalogue, BuildOptions(PartOptions(tmp_path / f"{name}.rc", chunking)))
    assert (tmp_path / "image.rc").read_bytes() == (tmp_path / "layout.rc").read_bytes()


def test_what_a_manifest_says_wrongly_is_refused() -> None:
    digest = str(Digest.of(b"x"))
    packed = {
        "mediaType": "application/vnd.reducto.corpus.packed.v1",
        "digest": digest,
        "size": 5,
        "annotations": {"io.reducto.corpus.id": "0" * 64},
    }
    info = {"mediaType": "application/vnd.reducto.corpus.info.v1+json", "digest": digest, "size": 5}
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2}
    plain = {"schemaVersion": 2, "config": config, "layers": [packed, info]}
    good = plain | {"artifactType": ARTIFACT_TYPE}
    assert len(CorpusArtifact.parse(json.dumps(good).encode()).parts) == 1
    for layers in (
        [],
        [packed],
        None,
        [info, packed],
        [packed | {"annotations": {}}, info],
        [packed | {"digest": "sha256:zz"}, info],
        [packed | {"size": -1}, info],
        [packed | {"annotations": {**packed["annotations"], "io.reducto.corpus.signature": "!!"}}, info],
        [packed, info | {"size": 1 << 30}],
        [packed, 5],
        [packed, info] * 2000,
    ):
        with pytest.raises(Corrupt):
            CorpusArtifact.parse(json.dumps(good | {"layers": layers}).encode())
    for text in (b"", b"[]", b"[" * 100_000, json.dumps(good | {"schemaVersion": 1}).encode()):
        with pytest.raises(Corrupt):
            CorpusArtifact.parse(text)
    with pytest.raises(NotReducto):
        CorpusArtifact.parse(json.dumps(plain).encode())
    dropped_by_the_registry = plain | {"annotations": {"io.reducto.type": ARTIFACT_TYPE}}
    assert len(CorpusArtifact.parse(json.dumps(dropped_by_the_registry).encode()).parts) == 1


# -- web servers ---------------------------------------------------------------------------------------------------


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves files with an ETag and answers 304; remembers what it answered."""

    answers: list[int]

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", hashlib.sha256(path.read_bytes()).hexdigest())
        super().end_headers()

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file() and self.headers["If-None-Match"] == hashlib.sha256(path.read_bytes()).hexdigest():
            self.send_response(304)
            self.end_headers()
            return
        super().do_GET()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self.answers.append(int(code))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path, list[int]]]:
    """A web server: its address, its directory, the status codes that it answered."""
    root = tmp_path / "web"
    root.mkdir()
    answers: list[int] = []
    handler = functools.partial(type("Handler", (Files,), {"answers": answers}), directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", root, answers
        server.shutdown()
        thread.join()


def test_a_corpus_from_a_web_server_is_fetched_once(web: tuple[str, Path, list[int]], tmp_path: Path) -> None:
    address, root, answers = web
    identity = write_small(root / "golden-v1.rc")
    found = finder(tmp_path / "cache")
    assert found.find(f"{address}/golden-v1.rc") == [tmp_path / "cache" / f"{identity}.rc"]
    assert found.find(f"{address}/golden-v1.rc") == [tmp_path / "cache" / f"{identity}.rc"]
    assert answers == [200, 304]
    second = write_small(root / "golden-v1.rc", plain=noise(50_000, 9))
    assert found.find(f"{address}/golden-v1.rc") == [tmp_path / "cache" / f"{second}.rc"]
    by_name = finder(tmp_path / "cache", repositories=(address,))
    assert by_name.find("golden-v1") == [tmp_path / "cache" / f"{second}.rc"]


def test_what_a_web_server_sends_instead_of_a_corpus_is_not_kept(
    web: tuple[str, Path, list[int]], tmp_path: Path
) -> None:
    address, root, _ = web
    write_small(root / "good.rc")
    good = (root / "good.rc").read_bytes()
    (root / "page.rc").write_bytes(b"<html>please log in</html>")
    (root / "cut.rc").write_bytes(good[:-100])
    found = finder(tmp_path / "cache")
    with pytest.raises(NotReducto):
        found.find(f"{address}/page.rc")
    with pytest.raises(Corrupt):
        found.find(f"{address}/cut.rc")
    with pytest.raises(NotInRegistry):
        found.find(f"{address}/absent.rc")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unreachable_address_falls_back_to_what_was_fetched(
    tmp_path: Path, web: tuple[str, Path, list[int]]
) -> None:
    address, root, _ = web
    write_small(root / "c.rc")
    cached = finder(tmp_path / "cache").find(f"{address}/c.rc")
    (tmp_path / "moved").mkdir()
    remembered = next((tmp_path / "cache").glob("*.json"))
    dead = "http://127.0.0.1:9/c.rc"
    remembered.rename(remembered.with_name(hashlib.sha256(dead.encode()).hexdigest()[:32] + ".json"))
    notes: list[str] = []
    offline = CorpusFinder(CorpusOptions(cache_dir=tmp_path / "cache"), note=notes.append)
    assert offline.find(dead) == cached
    assert "cannot be reached" in notes[0]
    with pytest.raises(RegistryError):
        offline.find("http://127.0.0.1:9/other.rc")


# -- finding -------------------------------------------------------------------------------------------------------


def test_files_directories_and_what_is_neither(tmp_path: Path) -> None:
    write_small(tmp_path / "b.rc")
    write_small(tmp_path / "a.rc")
    found = finder(tmp_path / "cache", repositories=(str(tmp_path),))
    assert found.find(str(tmp_path)) == [tmp_path / "a.rc", tmp_path / "b.rc"]
    assert found.find(str(tmp_path / "a.rc")) == [tmp_path / "a.rc"]
    assert found.find("a") == [tmp_path / "a.rc"]
    for name in ("absent", str(tmp_path / "absent.rc"), "../a/b"):
        with pytest.raises(UsageError):
            found.find(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no \.rc files"):
        found.find(str(tmp_path / "empty"))


def test_the_cache_stays_within_its_limit_and_keeps_what_is_in_use(
    tmp_path: Path, web: tuple[str, Path, list[int]]
) -> None:
    address, root, _ = web
    for number in range(4):
        write_small(root / f"{number}.rc", plain=noise(100_000, number))
    length = (root / "0.rc").stat().st_size
    cache = tmp_path / "cache"
    limit = Bytes(2 * length + 1000)
    first = finder(cache, max_cache_size=limit).find(f"{address}/0.rc")
    second = finder(cache, max_cache_size=limit).find(f"{address}/1.rc")
    mapped = Corpus.open(first[0], allow_unsigned=True)
    third = finder(cache, max_cache_size=limit).find(f"{address}/2.rc")
    assert not first[0].exists()
    assert second[0].exists()
    assert third[0].exists()
    assert mapped.view(0, 100_000) == noise(100_000, 0)
    one = finder(cache, max_cache_size=Bytes(length + 1000))
    kept = [*one.find(f"{address}/2.rc"), *one.find(f"{address}/3.rc")]
    assert all(path.exists() for path in kept)
    assert not second[0].exists()


@pytest.mark.parametrize(
    ("text", "host", "repository", "manifest"),
    [
        ("alpine", "registry-1.docker.io", "library/alpine", "latest"),
        ("user/app:v1", "registry-1.docker.io", "user/app", "v1"),
        ("docker.io/user/app", "registry-1.docker.io", "user/app", "latest"),
        ("localhost/app", "localhost", "app", "latest"),
        ("oci://reg.example:5000/a/b:c", "reg.example:5000", "a/b", "c"),
        ("[::1]:5000/a:b", "[::1]:5000", "a", "b"),
        ("r.example/a@sha256:" + "0" * 64, "r.example", "a", "sha256:" + "0" * 64),
        ("r.example/a:t@sha256:" + "0" * 64, "r.example", "a", "sha256:" + "0" * 64),
    ],
)
def test_references(text: str, host: str, repository: str, manifest: str) -> None:
    address = RegistryAddress.parse(text)
    assert (address.host, str(address.repository), str(address.reference)) == (host, repository, manifest)


@pytest.mark.parametrize(
    "text",
    ["", "UPPER/case", "r.example/", "r.example/a:", "r.example/a:b:c", "r.example/../a", "a b", "r.example/a@x"],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError):
        RegistryAddress.parse(text)
