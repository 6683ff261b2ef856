"""A base image with Python, with which Reducto's own image is built on machines that reach no image registry."""

from pathlib import Path

from tests.bench.data.cache import register
from tests.bench.data.debian import RELEASE, make_root, tar_root
from tests.support.process import run

CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


@register("python-base", f"Debian {RELEASE} with Python and venv as base.tar, and this machine's certificates")
def build(folder: Path) -> None:
    root = folder / "root"
    make_root(root, "python3", "python3-venv", "ca-certificates")
    (root / CERTIFICATES).write_bytes(Path("/", CERTIFICATES).read_bytes())
    run(
        "rm",
        "-rf",
        root / "var/cache/apt",
        root / "var/lib/apt/lists",
        root / "usr/share/doc",
        root / "usr/share/locale",
    )
    tar_root(root, folder / "base.tar")
    run("rm", "-rf", "--one-file-system", root)
