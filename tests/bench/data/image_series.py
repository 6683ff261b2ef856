"""Five real images as a team makes them over some weeks, with the layers that docker wrote.

1. ``base``            a Debian at its release state
2. ``base-patched``    image 1 with every security update
3. ``app``             Python from Debian on the base, and an application's dependencies from PyPI
4. ``app-bumped``      image 3 with newer versions of six dependencies
5. ``app-repatched``   image 3 built again on image 2

``image-series/images.tar`` is the ``docker save`` archive of all five, and ``layers/*.tar`` are the plain layers under
names that this module gives them. As in Docker's Debian images, apt keeps no downloaded packages but keeps its lists.
"""

import json
import posixpath
import tarfile
from pathlib import Path

from tests.bench.data import debian
from tests.bench.data.cache import register, say
from tests.support.dockerd import DockerEngine
from tests.support.process import run

IMAGES = ("base", "base-patched", "app", "app-bumped", "app-repatched")
PYTHON_PACKAGES = "python3 python3-venv python3-pip python3-dev ca-certificates"

# Debian's container images set these options, so that downloaded packages and apt's binary caches are in no layer.
_REMOVE = '{ "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin"; };'
DOCKER_CLEAN = f"""DPkg::Post-Invoke {_REMOVE}
APT::Update::Post-Invoke {_REMOVE}
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""

REQUIREMENTS = {
    "aiohttp": "3.9.5",
    "celery": "5.4.0",
    "cryptography": "42.0.7",
    "django": "5.0.6",
    "numpy": "1.26.4",
    "psycopg2-binary": "2.9.9",
    "pydantic": "2.7.1",
    "redis": "5.0.4",
    "requests": "2.31.0",
    "sqlalchemy": "2.0.30",
}
BUMPS = {
    "aiohttp": "3.10.10",
    "cryptography": "43.0.3",
    "django": "5.0.9",
    "pydantic": "2.9.2",
    "requests": "2.32.3",
    "sqlalchemy": "2.0.36",
}


@register("image-series", "five related images (docker save) and their plain layers")
def build(folder: Path) -> None:
    first, second = folder / "work" / "wheels-1", folder / "work" / "wheels-2"
    locked = download(REQUIREMENTS, {}, first)
    download({**REQUIREMENTS, **BUMPS}, locked, second)
    with DockerEngine(folder / "work" / "docker") as engine:
        import_base(engine, folder / "work" / "root", "base")
        patch_base(engine, "base", "base-patched")
        install_python(engine, "base", "python")
        install_python(engine, "base-patched", "python-repatched")
        install_application(engine, "python", first, "app")
        install_application(engine, "python", second, "app-bumped")
        install_application(engine, "python-repatched", first, "app-repatched")
        save(engine, IMAGES, folder / "images.tar")
    run("rm", "-rf", folder / "work")
    extract_layers(folder / "images.tar", folder / "layers", LAYER_NAMES)


LAYER_NAMES = {
    "base": ["base"],
    "base-patched": ["base", "patches"],
    "app": ["base", "python", "app"],
    "app-bumped": ["base", "python", "app-bumped"],
    "app-repatched": ["base", "patches", "python-repatched", "app-repatched"],
}


def download(requirements: dict[str, str], locked: dict[str, str], wheels: Path) -> dict[str, str]:
    """Downloads the wheels of those requirements and of all their dependencies; returns every version chosen.

    Dependencies keep the versions in ``locked`` where the requirements allow it, as with a lock file.
    """
    wanted = [f"{name}=={version}" for name, version in requirements.items()]
    wheels.mkdir(parents=True)
    common = [
        "python3",
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary=:all:",
        "--python-version=3.11",
        "--implementation=cp",
        "--dest",
        str(wheels),
    ]
    kept = {name: version for name, version in locked.items() if name not in _roots(requirements)}
    constraints = wheels.with_suffix(".constraints")
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()))
    run(*common, "--constraint", constraints, *wanted)
    names = (path.name.split("-")[:2] for path in wheels.glob("*.whl"))
    return {name.lower().replace("_", "-"): version for name, version in names}


def _roots(requirements: dict[str, str]) -> set[str]:
    """The names of the requirements, and of packages whose version must follow theirs."""
    return set(requirements) | {"pydantic-core"}


def import_base(engine: DockerEngine, root: Path, image: str) -> None:
    """Makes an image of one layer from a new Debian root."""
    say("  debootstrap")
    debian.make_root(root)
    (root / "etc/apt/apt.conf.d/docker-clean").write_text(DOCKER_CLEAN)
    archive = root.with_suffix(".tar")
    debian.tar_root(root, archive)
    run("rm", "-rf", "--one-file-system", root)
    engine.docker("import", "--change", 'CMD ["/bin/bash"]', archive, image)
    archive.unlink()


def patch_base(engine: DockerEngine, old: str, new: str) -> None:
    """Adds all security updates as one layer."""
    suites = debian.sources_list(debian.RELEASE, f"{debian.RELEASE}-security")
    script = f"echo '{suites.strip()}' > /etc/apt/sources.list && apt-get update && apt-get upgrade -y"
    add_layer(engine, old, new, script)


def install_python(engine: DockerEngine, old: str, new: str) -> None:
    """Adds Debian's Python with its headers and pip as one layer."""
    add_layer(engine, old, new, f"apt-get update && apt-get install -y --no-install-recommends {PYTHON_PACKAGES}")


def install_application(engine: DockerEngine, old: str, wheels: Path, new: str) -> None:
    """Adds a virtual environment with those wheels, byte-compiled by pip, as one layer."""
    script = "python3 -m venv /srv/app && /srv/app/bin/pip install --no-index --no-deps /wheels/*.whl"
    add_layer(engine, old, new, script, volume=f"{wheels}:/wheels:ro")


def add_layer(engine: DockerEngine, old: str, new: str, script: str, volume: str | None = None) -> None:
    """Runs a script in the old image by ``docker run``, and commits the changes as the new image."""
    say(f"  {old} -> {new}")
    mounts = ["--volume", volume] if volume else []
    container = f"make-{new}"
    engine.docker(
        "run",
        "--name",
        container,
        "--network=host",
        "--env=DEBIAN_FRONTEND=noninteractive",
        *mounts,
        old,
        "sh",
        "-euc",
        script,
    )
    engine.docker("commit", container, new)
    engine.docker("rm", container)


def save(engine: DockerEngine, images: tuple[str, ...] | list[str], archive: Path) -> None:
    """Saves several images into one archive, which holds shared layers once."""
    say("  docker save")
    engine.docker("save", "--output", archive, *(f"{image}:latest" for image in images))


def extract_layers(archive: Path, folder: Path, names: dict[str, list[str]]) -> None:
    """Writes the plain layers of a ``docker save`` archive as ``NAME.tar``. ``names`` are by image and position."""
    folder.mkdir()
    with tarfile.open(archive) as saved:
        manifest = saved.extractfile("manifest.json")
        assert manifest is not None
        for image in json.load(manifest):
            (tag,) = image["RepoTags"]
            for name, member in zip(names[tag.split(":")[0]], image["Layers"], strict=True):
                target = folder / f"{name}.tar"
                if not target.exists():
                    _extract(saved, member, target)


def _extract(saved: tarfile.TarFile, member: str, target: Path) -> None:
    info = saved.getmember(member)
    if info.issym():  # because docker writes a link for a layer that an earlier image in the archive has
        info = saved.getmember(posixpath.normpath(posixpath.join(posixpath.dirname(member), info.linkname)))
    source = saved.extractfile(info)
    assert source is not None
    with target.open("wb") as out:
        while block := source.read(1 << 22):
            out.write(block)
