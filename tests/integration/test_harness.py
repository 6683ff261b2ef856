"""The tests' servers and clients do without the sidecar what other tests expect of them through the sidecar."""

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clients import Client
from tests.support.conformance import run_conformance
from tests.support.dockerd import DockerEngine
from tests.support.fixtures import MakeClient, StartRegistry
from tests.support.process import CommandFailed
from tests.support.registries import PROGRAMS, Htpasswd, Registry
from tests.support.requirements import require_tool
from tests.support.shaped_link import ShapedLink
from tests.support.token_server import PULL, PUSH, TokenServer

pytestmark = pytest.mark.integration


def pushed_digest(registry: Registry, repository: str, tag: str) -> str:
    """The digest that the registry itself gives for the manifest of a tag."""
    accept = ", ".join(
        ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]
    )
    request = urllib.request.Request(f"{registry.url}/v2/{repository}/manifests/{tag}", method="HEAD")
    request.add_header("Accept", accept)
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def test_each_client_pulls_what_it_pushed(
    each_client: Client, registry: Registry, application: Callable[[int], Path]
) -> None:
    reference = f"{registry.host}/team/app:1"
    each_client.push(application(1), reference)
    assert each_client.pull(reference) == pushed_digest(registry, "team/app", "1")


def test_each_registry_stores_an_image(
    each_registry: Registry, make_client: MakeClient, application: Callable[[int], Path]
) -> None:
    skopeo = make_client("skopeo")
    reference = f"{each_registry.host}/team/app:1"
    skopeo.push(application(1), reference)
    assert skopeo.pull(reference) == pushed_digest(each_registry, "team/app", "1")
    assert each_registry.stored_bytes > 1_000_000


def test_a_pushed_image_runs(
    docker_engine: DockerEngine, make_client: MakeClient, registry: Registry, application: Callable[[int], Path]
) -> None:
    docker = make_client("docker")
    reference = f"{registry.host}/team/app:1"
    docker.push(application(1), reference)
    docker.pull(reference)
    printed = docker("run", "--rm", "--network=none", reference, "/bin/busybox", "echo", "hello")
    assert printed.strip() == "hello"


@pytest.mark.parametrize("kind", sorted(PROGRAMS))
def test_basic_authentication(
    kind: str, start_registry: StartRegistry, make_client: MakeClient, application: Callable[[int], Path]
) -> None:
    registry = start_registry(kind, auth=Htpasswd({"alice": "wonderland"}))
    skopeo = make_client("skopeo")
    reference = f"{registry.host}/team/app:1"
    with pytest.raises(CommandFailed, match=r"unauthorized|authentication required"):
        skopeo.push(application(1), reference)
    skopeo.login(registry.host, "alice", "wonderland")
    skopeo.push(application(1), reference)
    assert skopeo.pull(reference).startswith("sha256:")


@pytest.mark.parametrize("kind", sorted(PROGRAMS))
def test_token_authentication_has_rights_per_repository(
    kind: str, start_registry: StartRegistry, make_client: MakeClient, application: Callable[[int], Path]
) -> None:
    grants = {"alice": {"team/*": PUSH, "shared/*": PULL}, "": {"public/*": PULL}}
    with TokenServer({"alice": "wonderland"}, grants) as tokens:
        registry = start_registry(kind, auth=tokens)
        skopeo = make_client("skopeo")
        with pytest.raises(CommandFailed):
            skopeo.push(application(1), f"{registry.host}/team/app:1")
        skopeo.login(registry.host, "alice", "wonderland")
        skopeo.push(application(1), f"{registry.host}/team/app:1")
        with pytest.raises(CommandFailed):
            skopeo.push(application(1), f"{registry.host}/shared/app:1")
        assert ("alice", ("repository:team/app:pull,push",)) in tokens.requests


def test_shaped_link_holds_its_rate(shaped_link: Callable[[float], ShapedLink], start_registry: StartRegistry,
                                    make_client: MakeClient, application: Callable[[int], Path]) -> None:  # fmt: skip
    link = shaped_link(40)
    registry = start_registry("docker-registry", address=link.address, enter=link.enter)
    started = time.monotonic()
    make_client("skopeo").push(application(1), f"{registry.host}/team/app:1")
    elapsed = time.monotonic() - started
    mbit = registry.stored_bytes * 8 / 1e6
    assert 0.8 * mbit / 40 < elapsed < 4 * mbit / 40 + 10


def test_registry_survives_a_kill_and_many_requests_at_once(registry: Registry) -> None:
    registry.daemon.kill()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{registry.url}/v2/", timeout=5)
    registry.daemon.start()
    statuses: list[int] = []

    def ask() -> None:
        with urllib.request.urlopen(f"{registry.url}/v2/", timeout=5) as answer:
            statuses.append(answer.status)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20


@pytest.mark.parametrize("kind", sorted(PROGRAMS))
def test_conformance_suite_gives_a_result_for_each_test(
    kind: str, start_registry: StartRegistry, tmp_path: Path
) -> None:
    require_tool("conformance")
    outcomes = run_conformance(start_registry(kind).url, tmp_path / "report")
    assert len(outcomes) > 70
    assert Counter(outcomes.values())["passed"] > 40
