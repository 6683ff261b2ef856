"""The container image: what is in it, who it runs as, and that the same commit gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reducto.version import __version__
from tests.bench.data.cache import dataset
from tests.packaging.image import ROOT, BuiltImage, build_arguments, readable
from tests.support.process import run
from tests.support.requirements import require_root, require_tool

pytestmark = [pytest.mark.integration, pytest.mark.slow]
LARGEST_ADDED_BYTES = 130 << 20


def test_version_commit_and_time_are_inside(image: BuiltImage) -> None:
    text = image.run("--version")
    assert text.startswith(f"reducto {__version__} (commit {image.commit[:12]}, 20")
    about = json.loads(image.engine.docker("image", "inspect", image.tag))[0]
    labels = about["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == image.commit
    assert labels["org.opencontainers.image.created"] in text


def test_it_runs_as_nobody_on_a_read_only_root(image: BuiltImage) -> None:
    about = json.loads(image.engine.docker("image", "inspect", image.tag))[0]
    assert about["Config"]["User"] == "65532:65532"
    assert about["Config"]["Entrypoint"] == ["reducto"]
    options = ("--entrypoint=sh",)
    assert image.run("-c", "id -u; touch /x 2>&1 || true", options=options).split()[0] == "65532"
    assert "Read-only file system" in image.run("-c", "touch /opt/x 2>&1 || true", options=options)


def test_it_is_small_and_has_no_tools_to_build_with(image: BuiltImage) -> None:
    sizes = json.loads(image.engine.docker("image", "inspect", image.tag))[0]
    base = json.loads(image.engine.docker("image", "inspect", "localhost/python-base:test"))[0]
    assert sizes["Size"] - base["Size"] < LARGEST_ADDED_BYTES
    found = image.run("-c", "command -v gcc pip /opt/reducto/bin/pip || echo none", options=("--entrypoint=sh",))
    assert found.strip() == "none"


def test_the_command_line_works_inside(image: BuiltImage, tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text("upstream: {url: 'http://registry:5000'}\n")
    mount = f"--volume={readable(tmp_path)}:/etc/reducto/config:ro"
    options = (mount, "--env=REDUCTO_CONFIG=/etc/reducto/config/sidecar.yaml")
    assert "configuration is valid" in image.run("config", "check", options=options)


def test_the_same_commit_gives_the_same_image(tmp_path: Path) -> None:
    require_root()
    require_tool("buildah")
    storage = ["--root", tmp_path / "storage", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]
    base = f"docker-archive:{tmp_path / 'base-image.tar'}"
    container = run("buildah", *storage, "from", "scratch").strip()
    run("buildah", *storage, "add", "--quiet", container, dataset("python-base").ensure() / "base.tar", "/")
    run("buildah", *storage, "commit", "--quiet", container, base)
    commit = run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
    digests = []
    for attempt in ("first", "second"):
        options = " ".join(map(str, storage))
        run(
            "make",
            "image",
            f"IMAGE=localhost/reducto:{attempt}",
            f"COMMIT={commit}",
            f"IMAGE_BUILDER=buildah {options} build --no-cache --isolation=chroot --timestamp=$(SOURCE_DATE_EPOCH)",
            f"IMAGE_ARGS={' '.join(build_arguments(base))}",
            cwd=ROOT,
            timeout_seconds=3600,
        )
        digests.append(
            run("buildah", *storage, "inspect", "--format", "{{.FromImageID}}", f"localhost/reducto:{attempt}")
        )
    assert digests[0] == digests[1]
