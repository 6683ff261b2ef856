"""The clients that people push and pull with, behind one small interface. Each has a home directory of its own.

Every client pushes a ``docker save`` archive, and returns the manifest digest of what it pulls. It reaches registries
on 127.0.0.1 without TLS. ``client(...)`` runs the program itself with any other arguments.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from tests.support.dockerd import DockerEngine
from tests.support.process import find_tool, run


class Client:
    """The interface of all clients. ``name`` is the name of the program."""

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        program = find_tool(self.name)
        if program is None:
            raise FileNotFoundError(f"{self.name} is not installed")
        self.program = program
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "auth.json").write_text("{}")
        self.environment = {
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder / "docker"),
            "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
            "XDG_RUNTIME_DIR": str(folder),
        }

    def __call__(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 600) -> str:
        """Runs the program with these arguments and returns its standard output. Raises `CommandFailed`."""
        return run(self.program, *arguments, env=self.environment, stdin=stdin, timeout_seconds=timeout_seconds)

    def login(self, host: str, user: str, password: str) -> None:
        raise NotImplementedError

    def push(self, archive: Path, reference: str) -> None:
        """Pushes the only image of a ``docker save`` archive as ``reference``."""
        raise NotImplementedError

    def pull(self, reference: str) -> str:
        """Pulls an image of which the client has no part, and returns the manifest's digest as the client saw it."""
        raise NotImplementedError

    def run(self, reference: str, *command: str) -> str:
        """The output of a command that runs in the image which was pulled last."""
        raise NotImplementedError

    def close(self) -> None:
        """Removes everything that the client keeps outside its folder."""


class Docker(Client):
    name = "docker"

    def __init__(self, engine: DockerEngine, folder: Path) -> None:
        super().__init__(folder)
        self.engine = engine
        self.environment = dict(engine.client_environment)

    def login(self, host: str, user: str, password: str) -> None:
        self("login", "--username", user, "--password-stdin", host, stdin=password.encode())

    def push(self, archive: Path, reference: str) -> None:
        loaded = self("load", "--input", archive).splitlines()[-1].split(": ", 1)[1]
        self("tag", loaded, reference)
        self("push", "--quiet", reference)

    def pull(self, reference: str) -> str:
        self.forget()
        output = self("pull", reference)
        found = re.search(r"^Digest: (sha256:[0-9a-f]{64})$", output, re.MULTILINE)
        assert found, output
        return found[1]

    def run(self, reference: str, *command: str) -> str:
        return self("run", "--rm", "--network=none", reference, *command)

    def forget(self) -> None:
        """Removes every image, so that the next pull fetches all layers."""
        images = self("images", "--all", "--quiet").split()
        if images:
            self("rmi", "--force", *dict.fromkeys(images))


class _Containers(Client):
    """podman and buildah, with a vfs store of their own and without systemd."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # podman refuses a run root whose path is longer than 50 characters.
        self._run_root = tempfile.mkdtemp(prefix="rd-run-", dir="/tmp")
        self.options = ["--root", str(folder / "root"), "--runroot", self._run_root, "--storage-driver", "vfs"]

    def close(self) -> None:
        shutil.rmtree(self._run_root, ignore_errors=True)

    def __call__(self, *arguments: str | Path, stdin: bytes | None = None, timeout_seconds: float = 600) -> str:
        return super().__call__(*self.options, *arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def login(self, host: str, user: str, password: str) -> None:
        self("login", "--tls-verify=false", "--username", user, "--password-stdin", host, stdin=password.encode())

    def push(self, archive: Path, reference: str) -> None:
        image = self("pull", "--quiet", f"docker-archive:{archive}").split()[-1]
        self("push", "--quiet", "--tls-verify=false", image, f"docker://{reference}")

    def pull(self, reference: str) -> str:
        self("rmi", "--all", "--force")
        image = self("pull", "--quiet", "--tls-verify=false", f"docker://{reference}").split()[-1]
        return self._digest(image)

    def _digest(self, image: str) -> str:
        (found,) = json.loads(self("images", "--json", "--filter", f"id={image}") or "[]") or [{}]
        return str(found.get("digest") or found.get("Digest"))


class Podman(_Containers):
    name = "podman"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.options += ["--cgroup-manager", "cgroupfs", "--events-backend", "file"]

    def _digest(self, image: str) -> str:
        (found,) = json.loads(self("image", "inspect", image))
        return str(found["Digest"])

    def run(self, reference: str, *command: str) -> str:
        # runc runs the command, because crun needs cgroups that a container inside a container does not have. The
        # limits are low, because such a container may not raise them.
        limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        return self("--runtime", "runc", "run", "--rm", "--network=host", *limits, reference, *command)


class Buildah(_Containers):
    name = "buildah"

    def _digest(self, image: str) -> str:
        return str(json.loads(self("inspect", "--type", "image", image))["FromImageDigest"])

    def run(self, reference: str, *command: str) -> str:
        container = self("from", "--pull-never", reference).strip()
        return self("run", "--isolation=chroot", container, "--", *command)


class Skopeo(Client):
    name = "skopeo"

    def login(self, host: str, user: str, password: str) -> None:
        self("login", "--tls-verify=false", "--username", user, "--password-stdin", host, stdin=password.encode())

    def push(self, archive: Path, reference: str) -> None:
        self("copy", "--quiet", "--dest-tls-verify=false", f"docker-archive:{archive}", f"docker://{reference}")

    def pull(self, reference: str) -> str:
        folder = _removed(self.folder / "pulled")
        self(
            "copy", "--quiet", "--src-tls-verify=false", "--preserve-digests", f"docker://{reference}", f"dir:{folder}"
        )
        return self("manifest-digest", folder / "manifest.json").strip()

    def run(self, reference: str, *command: str) -> str:
        return run_unpacked(f"dir:{self.folder / 'pulled'}", self.folder / "unpacked", *command)


class Crane(Client):
    name = "crane"

    def login(self, host: str, user: str, password: str) -> None:
        self("auth", "login", host, "--username", user, "--password-stdin", stdin=password.encode())

    def push(self, archive: Path, reference: str) -> None:
        self("push", "--insecure", archive, reference)

    def pull(self, reference: str) -> str:
        folder = _removed(self.folder / "pulled")
        self("pull", "--insecure", "--format=oci", reference, folder)
        (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
        return str(entry["digest"])

    def run(self, reference: str, *command: str) -> str:
        return run_unpacked(f"oci:{self.folder / 'pulled'}", self.folder / "unpacked", *command)


class Oras(Client):
    """oras, whose ``push`` reads an OCI layout that skopeo makes from the archive."""

    name = "oras"

    def login(self, host: str, user: str, password: str) -> None:
        self("login", "--plain-http", "--username", user, "--password-stdin", host, stdin=password.encode())

    def push(self, archive: Path, reference: str) -> None:
        layout = _removed(self.folder / "layout")
        Skopeo(self.folder / "skopeo")("copy", "--quiet", f"docker-archive:{archive}", f"oci:{layout}:image")
        self("cp", "--no-tty", "--from-oci-layout", f"{layout}:image", "--to-plain-http", reference)

    def pull(self, reference: str) -> str:
        layout = _removed(self.folder / "pulled")
        self("cp", "--no-tty", "--from-plain-http", reference, "--to-oci-layout", f"{layout}:image")
        (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
        return str(entry["digest"])

    def run(self, reference: str, *command: str) -> str:
        return run_unpacked(f"oci:{self.folder / 'pulled'}", self.folder / "unpacked", *command)


class Helm(Client):
    """helm, which pushes charts: ``archive`` is a packaged chart, ``reference`` the repository above its name."""

    name = "helm"

    def login(self, host: str, user: str, password: str) -> None:
        self("registry", "login", "--plain-http", "--username", user, "--password-stdin", host, stdin=password.encode())

    def push(self, archive: Path, reference: str) -> None:
        self("push", archive, f"oci://{reference}", "--plain-http")

    def pull(self, reference: str) -> str:
        folder = _removed(self.folder / "pulled")
        folder.mkdir()
        name, _, version = reference.rpartition(":")
        words = ["pull", f"oci://{name}", "--version", version, "--plain-http", "-d", folder]
        output = run(self.program, *words, env=self.environment, with_errors=True)
        found = re.search(r"^Digest: (sha256:[0-9a-f]{64})$", output, re.MULTILINE)
        assert found, output
        return found[1]


def run_unpacked(source: str, folder: Path, *command: str) -> str:
    """Unpacks an image (``oci:layout`` or ``dir:folder``) as a runtime would, and runs a command in its root."""
    _removed(folder).mkdir(parents=True)
    Skopeo(folder / "skopeo")("copy", "--quiet", source, f"oci:{folder / 'layout'}:image")
    run("umoci", "unpack", "--image", f"{folder / 'layout'}:image", folder / "bundle")
    return run("chroot", folder / "bundle" / "rootfs", *command)


def _removed(folder: Path) -> Path:
    run("rm", "-rf", folder)
    return folder


CLIENTS: dict[str, type[Client]] = {each.name: each for each in (Docker, Podman, Buildah, Skopeo, Crane, Oras, Helm)}
