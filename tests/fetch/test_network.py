"""The command line's registries and web servers as networks have them: broken, busy, guarded, and spread over hosts."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reducto.config.fields import Bytes
from reducto.config.schema import CorpusOptions
from reducto.errors import Corrupt, LimitExceeded, UsageError
from reducto.fetch.blocking import BlockingRepository, is_local
from reducto.fetch.corpora import CorpusFinder
from reducto.oci.address import RegistryAddress
from reducto.oci.credentials import DockerCredentials
from reducto.oci.names import Tag
from reducto.oci.registry_errors import NotInRegistry, RegistryError
from reducto.oci.retry import RetryPolicy
from reducto.values import Descriptor, Digest
from tests.corpus.samples import write_small

DATA = bytes(range(256)) * 2000
BLOB = Descriptor("application/octet-stream", Digest.of(DATA), len(DATA))
BASIC = f"Basic {base64.b64encode(b'alice:wonderland').decode()}"

Respond = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; a test answers it with `reply`."""

    respond: Respond
    seen: list[tuple[str, dict[str, str]]]

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.seen.append((f"{self.command} {self.path}", {k.lower(): v for k, v in self.headers.items()}))
        type(self).respond(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Host:
    """A server on a port of 127.0.0.1."""

    def __init__(self, respond: Respond) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        handler = type("Handler", (Request,), {"respond": staticmethod(respond), "seen": self.seen})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def told(self, field: str) -> list[str | None]:
        return [headers.get(field) for _, headers in self.seen]


@pytest.fixture
def at_end() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(at_end: ExitStack) -> Callable[[Respond], Host]:
    """``start(respond)``: as many hosts as a test wants."""

    @contextmanager
    def serving(host: Host) -> Iterator[Host]:
        thread = threading.Thread(target=host.server.serve_forever)
        thread.start()
        try:
            yield host
        finally:
            host.server.shutdown()
            host.server.server_close()
            thread.join()

    return lambda respond: at_end.enter_context(serving(Host(respond)))


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr("reducto.fetch.blocking._RETRIES", RetryPolicy(3, 0.01))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def repository(host: Host, stack: ExitStack, credentials: DockerCredentials | None = None) -> BlockingRepository:
    address = RegistryAddress.parse(f"{host.name}/team/app:v1")
    return stack.enter_context(BlockingRepository(address, credentials=credentials))


# -- registries


def test_a_download_goes_on_where_it_broke_and_tells_of_each_byte_once(
    start: Callable[[Respond], Host], at_end: ExitStack, tmp_path: Path
) -> None:
    broken = [2]

    def respond(request: Request) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        rest = DATA[int(found[1]) if found else 0 :]
        request.send_response(206 if found else 200)
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        broken[0] -= 1
        request.wfile.write(rest[:100_000] if broken[0] >= 0 else rest)
        request.close_connection = True

    host, arrived = start(respond), [0]
    repository(host, at_end).download(BLOB, tmp_path / "blob", lambda count: arrived.append(count))
    assert (tmp_path / "blob").read_bytes() == DATA
    assert sum(arrived) == len(DATA)
    assert host.told("range")[0] is None
    assert len(host.seen) == 3


def test_wrong_bytes_leave_no_file(start: Callable[[Respond], Host], at_end: ExitStack, tmp_path: Path) -> None:
    host = start(lambda request: request.reply(200, DATA[:-1] + b"x"))
    with pytest.raises(Corrupt, match=f"http://{host.name}/v2/team/app: blob .* other content or length"):
        repository(host, at_end).download(BLOB, tmp_path / "blob")
    assert list(tmp_path.glob("*blob*")) == []


def test_a_busy_registry_is_waited_for(start: Callable[[Respond], Host], at_end: ExitStack) -> None:
    busy = [2]

    def respond(request: Request) -> None:
        busy[0] -= 1
        if busy[0] >= 0:
            request.reply(429, Retry_After="0")
        elif request.command == "POST":
            request.reply(202, Location="/upload")
        else:
            request.reply(404 if request.command == "HEAD" else 201)

    host = start(respond)
    assert repository(host, at_end).upload_bytes(DATA, "a/b") == Descriptor("a/b", BLOB.digest, len(DATA))
    busy[0] = 99
    with pytest.raises(RegistryError, match="429 Too Many Requests"):
        repository(host, at_end).has_blob(BLOB.digest)


def test_errors_say_who_refused_what(start: Callable[[Respond], Host], at_end: ExitStack) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "not yours"}]}).encode()
    host = start(lambda request: request.reply(404 if request.command == "GET" else 403, body))
    asked = repository(host, at_end)
    with pytest.raises(RegistryError) as caught:
        asked.put_manifest(b"{}", "a/b", Tag("v1"))
    assert str(caught.value) == f"PUT http://{host.name}/v2/team/app/manifests/v1: 403 Forbidden: DENIED not yours"
    with pytest.raises(NotInRegistry, match=f"http://{host.name}/v2/team/app/manifests/v1: not in the registry"):
        asked.manifest()
    with pytest.raises(NotInRegistry, match=f"GET http://{host.name}/v2/team/app/blobs/.*404.*not in the registry"):
        asked.read_blob(BLOB, len(DATA))
    gone = BlockingRepository(RegistryAddress.parse("127.0.0.1:9/team/app:v1"))
    at_end.enter_context(gone)
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9/v2/team/app: .*Cannot connect to host"):
        gone.manifest()


def test_an_upload_to_another_host_is_told_no_password(start: Callable[[Respond], Host], at_end: ExitStack) -> None:
    storage = start(lambda request: request.reply(201))

    def respond(request: Request) -> None:
        if request.headers.get("Authorization") != BASIC:
            request.reply(401, WWW_Authenticate='Basic realm="x"')
        elif request.command == "HEAD":
            request.reply(404)
        else:
            request.reply(202, Location=f"http://{storage.name}/bucket?signature=1")

    host = start(respond)
    credentials = DockerCredentials({"auths": {host.name: {"username": "alice", "password": "wonderland"}}})
    repository(host, at_end, credentials).upload_bytes(DATA, "a/b")
    assert [line.partition("&")[0] for line, _ in storage.seen] == ["PUT /bucket?signature=1"]
    assert storage.told("authorization") == [None]
    assert BASIC in host.told("authorization")


def test_a_helper_that_failed_is_named_with_the_refusal(start: Callable[[Respond], Host], at_end: ExitStack) -> None:
    host = start(lambda request: request.reply(401, WWW_Authenticate='Basic realm="x"'))
    with pytest.raises(RegistryError, match=r"401.*\(docker-credential-absent cannot be asked"):
        repository(host, at_end, DockerCredentials({"credsStore": "absent"})).manifest()


def test_a_credentials_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config\.json cannot be used"):
        BlockingRepository(RegistryAddress.parse("r.example/a"))


LOCAL = ("localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]")
REMOTE = ("registry.example", "localhost.example", "[::2]:5000", "10.0.0.1:5000")


@pytest.mark.parametrize("host", LOCAL + REMOTE)
def test_registries_on_this_machine(host: str) -> None:
    assert is_local(host) is (host in LOCAL)


# -- web servers


def find(cache: Path, address: str, **options: Any) -> list[Path]:
    return CorpusFinder(CorpusOptions(cache_dir=cache, **options)).find(address)


def test_a_user_in_an_address_is_told_to_that_server_alone(start: Callable[[Respond], Host], tmp_path: Path) -> None:
    write_small(tmp_path / "c.rc")
    content = (tmp_path / "c.rc").read_bytes()
    storage = start(lambda request: request.reply(200, content, ETag='"1"'))

    def respond(request: Request) -> None:
        if request.headers.get("Authorization") == BASIC:
            request.reply(302, Location=f"http://{storage.name}/bucket")
        else:
            request.reply(401)

    host = start(respond)
    address = f"http://alice:wonderland@{host.name}/c.rc?key=s3cret"
    (path,) = find(tmp_path / "cache", address)
    assert path.read_bytes() == content
    assert storage.told("authorization") == [None]
    assert host.seen[0][0] == "GET /c.rc?key=s3cret"
    remembered = next((tmp_path / "cache").glob("*.json")).read_text()
    assert "wonderland" not in remembered
    assert "s3cret" not in remembered
    with pytest.raises(RegistryError) as caught:
        find(tmp_path / "other", f"http://alice:looking-glass@{host.name}/c.rc?key=s3cret")
    assert "the server answers 401" in str(caught.value)
    assert "looking-glass" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_beyond_the_caches_limit_is_not_kept(start: Callable[[Respond], Host], tmp_path: Path) -> None:
    host = start(lambda request: request.reply(200, DATA))
    with pytest.raises(LimitExceeded, match=r"more than corpus\.max_cache_size, 1000 bytes"):
        find(tmp_path / "cache", f"http://{host.name}/c.rc", max_cache_size=Bytes(1000))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_breaks_off_is_not_kept(start: Callable[[Respond], Host], tmp_path: Path) -> None:
    def respond(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"RDC")
        request.close_connection = True

    host = start(respond)
    with pytest.raises(RegistryError, match="the connection broke"):
        find(tmp_path / "cache", f"http://{host.name}/c.rc")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("address", ["http://", "http://h:x/c.rc", "https://h:99999/c.rc"])
def test_an_address_that_is_none(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        find(tmp_path / "cache", address)
