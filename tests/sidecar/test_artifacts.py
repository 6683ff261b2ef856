"""Real clients push and pull indexes, signatures, charts and other artifacts through the sidecar, at every upstream."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sidecar.conftest import OpenRig
from tests.support.fixtures import MakeClient, StartRegistry
from tests.support.registries import Registry
from tests.support.sidecar_rig import Rig

pytestmark = [pytest.mark.integration, pytest.mark.slow]

UPSTREAMS = ["embedded", "docker-registry", "distribution", "zot"]
REGISTRIES = UPSTREAMS[1:]
CHART = Path(__file__).parents[2] / "charts" / "reducto"


@dataclass
class Sides:
    """A sidecar before a registry, and a bare registry of the same kind."""

    rig: Rig
    behind: Registry | None
    """None for the embedded store."""
    bare: str

    @property
    def host(self) -> str:
        return self.rig.host


OpenSides = Callable[[str], Awaitable[Sides]]


@pytest.fixture
def open_sides(new_rig: OpenRig, start_registry: StartRegistry) -> OpenSides:
    async def make(upstream: str) -> Sides:
        embedded = upstream == "embedded"
        kind = "docker-registry" if embedded else upstream
        bare = await asyncio.to_thread(start_registry, kind)
        behind = None if embedded else await asyncio.to_thread(start_registry, kind)
        rig = await new_rig(upstream=behind.url if behind else None)
        return Sides(rig, behind, bare.host)

    return make


@pytest.fixture
def crane(make_client: MakeClient) -> Callable[..., str]:
    client = make_client("crane")
    return lambda *words: client(*words, "--insecure").strip()


def push_index(crane: Callable[..., str], application: Callable[[int], Path], repository: str) -> str:
    """Pushes an index of two images as ``repository:multi``, and returns its digest."""
    for version in (1, 2):
        crane("push", application(version), f"{repository}:v{version}")
    crane("index", "append", "-m", f"{repository}:v1", "-m", f"{repository}:v2", "-t", f"{repository}:multi")
    return crane("digest", f"{repository}:multi")


async def check_health(rig: Rig) -> None:
    assert await rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") > 0
    assert await rig.metric("reducto_rebuild_failures_total") == 0
    assert await rig.metric("reducto_reduce_failures_total") == 0


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_an_index_and_everything_that_it_names(
    open_sides: OpenSides,
    crane: Callable[..., str],
    make_client: MakeClient,
    small_application: Callable[[int], Path],
    tmp_path: Path,
    upstream: str,
) -> None:
    sides, skopeo = await open_sides(upstream), make_client("skopeo")
    copy = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false"]

    def scenario() -> None:
        digest = push_index(crane, small_application, f"{sides.bare}/team/app")
        source, through = f"docker://{sides.bare}/team/app:multi", f"docker://{sides.host}/team/app:multi"
        skopeo(*copy, "--dest-tls-verify=false", source, through)
        assert crane("digest", f"{sides.host}/team/app:multi") == digest
        assert crane("manifest", f"{sides.host}/team/app:multi") == crane("manifest", f"{sides.bare}/team/app:multi")
        skopeo(*copy, through, f"dir:{tmp_path / 'pulled'}")
        assert skopeo("manifest-digest", tmp_path / "pulled" / "manifest.json").strip() == digest
        crane("cp", f"{sides.host}/team/app:multi", f"{sides.bare}/copy/app:multi")
        crane("validate", "--remote", f"{sides.bare}/copy/app:multi")
        assert crane("digest", f"{sides.bare}/copy/app:multi") == digest

    await asyncio.to_thread(scenario)
    await check_health(sides.rig)


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_signatures_and_attached_artifacts(
    open_sides: OpenSides,
    crane: Callable[..., str],
    make_client: MakeClient,
    small_application: Callable[[int], Path],
    tmp_path: Path,
    upstream: str,
) -> None:
    """The image has a signature under cosign's tag and a bill of materials as referrer, which has a signature, too."""
    sides, oras = await open_sides(upstream), make_client("oras")
    (tmp_path / "payload.json").write_text(json.dumps({"critical": {"type": "cosign container image signature"}}))
    modules = sorted(Path(json.__file__).parents[1].glob("*.py"))
    packages = [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in modules]
    (tmp_path / "sbom.json").write_text(json.dumps({"packages": packages}, indent=1))

    def attach(reference: str, kind: str, file: str) -> str:
        words = ["--plain-http", "--disable-path-validation", "--format", "json", "--artifact-type", kind]
        digest = json.loads(oras("attach", *words, reference, f"{tmp_path / file}:application/json"))["digest"]
        return f"{reference.removesuffix(':v1').partition('@')[0]}@{digest}"

    def tree(repository: str) -> str:
        found = oras("discover", "--plain-http", "--format", "json", f"{repository}:v1")
        return re.sub(r"(127\.0\.0\.1:\d+)/\w+", "", found)

    def scenario() -> None:
        app = f"{sides.host}/team/app"
        crane("push", small_application(1), f"{app}:v1")
        tag = crane("digest", f"{app}:v1").replace(":", "-") + ".sig"
        kind = "application/vnd.dev.cosign.simplesigning.v1+json"
        words = ["push", "--plain-http", "--no-tty", "--disable-path-validation", f"{app}:{tag}"]
        oras(*words, f"{tmp_path / 'payload.json'}:{kind}")
        sbom = attach(f"{app}:v1", "application/spdx+json", "sbom.json")
        attach(sbom, "application/vnd.dev.cosign.artifact.sig.v1+json", "payload.json")
        assert set(crane("ls", app).split()) >= {"v1", tag}
        # The image is copied to a bare registry and back, with everything that refers to it.
        for source, target in ((app, f"{sides.bare}/copy/app"), (f"{sides.bare}/copy/app", f"{sides.host}/back/app")):
            oras("cp", "-r", "--no-tty", "--from-plain-http", "--to-plain-http", f"{source}:v1", f"{target}:v1")
            oras("cp", "--no-tty", "--from-plain-http", "--to-plain-http", f"{source}:{tag}", f"{target}:{tag}")
            assert crane("digest", f"{target}:{tag}") == crane("digest", f"{app}:{tag}")
            assert tree(target) == tree(app)
        assert "application/spdx+json" in tree(app)
        assert "cosign.artifact.sig" in tree(app)

    await asyncio.to_thread(scenario)
    await check_health(sides.rig)


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_helm_charts(
    open_sides: OpenSides, crane: Callable[..., str], make_client: MakeClient, tmp_path: Path, upstream: str
) -> None:
    sides, helm = await open_sides(upstream), make_client("helm")

    def scenario() -> None:
        helm("package", CHART, "--version", "1.2.3", "--destination", tmp_path)
        archive = tmp_path / "reducto-1.2.3.tgz"
        helm.push(archive, f"{sides.host}/charts")
        digest = helm.pull(f"{sides.host}/charts/reducto:1.2.3")
        assert digest == crane("digest", f"{sides.host}/charts/reducto:1.2.3")
        assert (helm.folder / "pulled" / archive.name).read_bytes() == archive.read_bytes()
        crane("cp", f"{sides.host}/charts/reducto:1.2.3", f"{sides.bare}/charts/reducto:1.2.3")
        assert helm.pull(f"{sides.bare}/charts/reducto:1.2.3") == digest

    await asyncio.to_thread(scenario)
    assert await sides.rig.metric("reducto_rebuild_failures_total") == 0


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_mounts_from_another_repository(
    open_sides: OpenSides,
    crane: Callable[..., str],
    small_application: Callable[[int], Path],
    upstream: str,
) -> None:
    sides = await open_sides(upstream)

    def scenario() -> None:
        crane("push", small_application(1), f"{sides.host}/one/app:v1")
        crane("cp", f"{sides.host}/one/app:v1", f"{sides.host}/two/app:v1")
        assert crane("digest", f"{sides.host}/two/app:v1") == crane("digest", f"{sides.host}/one/app:v1")
        crane("validate", "--remote", f"{sides.host}/two/app:v1")

    await asyncio.to_thread(scenario)
    if upstream != "zot":  # Zot declines mounts without its cache, and the client pushes the layers again.
        # Without mounts, the two layers would be sent four times. On a busy machine one was seen to be sent again.
        assert 2 <= await sides.rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") < 4
    await check_health(sides.rig)


@pytest.mark.parametrize("upstream", REGISTRIES)
async def test_records_go_straight_from_registry_to_registry(
    open_sides: OpenSides,
    new_rig: OpenRig,
    start_registry: StartRegistry,
    crane: Callable[..., str],
    make_client: MakeClient,
    small_application: Callable[[int], Path],
    upstream: str,
) -> None:
    """Other tools copy an image's record by its tag alone. A sidecar before the other registry serves the originals."""
    sides, skopeo, oras = await open_sides(upstream), make_client("skopeo"), make_client("oras")
    far = await asyncio.to_thread(start_registry, upstream)
    edge = await new_rig(upstream=far.url)
    assert sides.behind is not None
    home = sides.behind.host
    plain, insecure = ["--no-tty", "--from-plain-http", "--to-plain-http"], ["--src-tls-verify=false"]
    insecure.append("--dest-tls-verify=false")

    def scenario() -> None:
        digest = push_index(crane, small_application, f"{sides.host}/team/app")
        crane("cp", f"{home}/team/app:multi", f"{far.host}/crane/app:multi")
        oras("cp", *plain, f"{home}/team/app:multi", f"{far.host}/oras/app:multi")
        words = ["copy", "--all", "--preserve-digests", *insecure]
        skopeo(*words, f"docker://{home}/team/app:multi", f"docker://{far.host}/skopeo/app:multi")
        for tool in ("crane", "oras", "skopeo"):
            assert crane("digest", f"{far.host}/{tool}/app:multi") != digest, "a record was copied"
            assert crane("digest", f"{edge.host}/{tool}/app:multi") == digest
            crane("validate", "--remote", f"{edge.host}/{tool}/app:multi")

    await asyncio.to_thread(scenario)
    await check_health(sides.rig)
    assert await edge.metric("reducto_rebuild_seconds_count") >= 3
    assert await edge.metric("reducto_rebuild_failures_total") == 0
