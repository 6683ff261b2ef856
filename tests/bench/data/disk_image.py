"""Two versions of a server's disk as 2 GiB ext4 images. The second has all security updates and a backup of /etc."""

import os
from pathlib import Path

from tests.bench.data import debian
from tests.bench.data.cache import dataset, register, say
from tests.support.process import run

PACKAGES = "build-essential git nginx postgresql-15 python3-pip python3-numpy openssh-server redis-server vim curl"
IMAGE_BYTES = 2 << 30
FILESYSTEM_ID = "5b8f1c1e-8c0e-4d0f-9a55-6f2d4a3f7a10"


@register("disk-images", "a 2 GiB ext4 disk image of a Debian server and its next version: old.img, new.img")
def build(folder: Path) -> None:
    root = folder / "work" / "root"
    debian.unpack_root(dataset("image-series").ensure() / "layers" / "base.tar", root)
    (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    say("  apt-get install")
    debian.in_root(root, "apt-get", "update")
    debian.in_root(root, "sh", "-c", f"apt-get install -y --no-install-recommends {PACKAGES}")
    make_image(root, folder / "old.img")
    say("  apt-get upgrade")
    suites = debian.sources_list(debian.RELEASE, f"{debian.RELEASE}-security")
    (root / "etc/apt/sources.list").write_text(suites)
    debian.in_root(root, "apt-get", "update")
    debian.in_root(root, "apt-get", "upgrade", "-y")
    debian.in_root(root, "sh", "-c", "cp -a /etc /var/backups/etc-weekly && apt-get clean")
    make_image(root, folder / "new.img")
    run("rm", "-rf", "--one-file-system", folder / "work")


def make_image(root: Path, image: Path) -> None:
    """Makes an ext4 file system that holds that root. The same root gives the same image."""
    say(f"  mke2fs {image.name}")
    with image.open("wb") as file:
        os.truncate(file.fileno(), IMAGE_BYTES)
    features = f"lazy_itable_init=0,hash_seed={FILESYSTEM_ID}"
    mke2fs = ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-U", FILESYSTEM_ID, "-E", features, "-d"]
    run(*mke2fs, root, image, env={"SOURCE_DATE_EPOCH": "1700000000"})
