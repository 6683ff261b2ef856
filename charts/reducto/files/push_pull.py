"""The program of `helm test`: pushes two versions of an image layer, pulls both, and compares every byte.

Usage: push_pull.py URL REPOSITORY. Credentials are read from the file that REGISTRY_AUTH_FILE names, if any.
"""

import gzip
import hashlib
import io
import os
import random
import sys
import tarfile
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import oras.client

# This is not the OCI layer type, because the client unpacks layers of that type and the bytes could not be compared.
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
FILES, FILE_BYTES = 24, 64 << 10


def layer(name: str, version: int) -> bytes:
    """A gzipped tar of `FILES` files, of which only the first differs between versions."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(FILES):
            seed = f"{name}-{number}-{version if number == 0 else 0}"
            content = random.Random(seed).randbytes(FILE_BYTES // 2) * 2  # noqa: S311 - test data
            member = tarfile.TarInfo(f"app/file-{number:02}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), 6, mtime=version)


def main() -> None:
    """Exits with an error when a byte differs or a request fails."""
    url, repository = urlsplit(sys.argv[1]), sys.argv[2]
    login = os.environ.get("REGISTRY_AUTH_FILE")
    client = oras.client.OrasClient(hostname=url.netloc, insecure=url.scheme == "http", tls_verify=False)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for version in (1, 2):
            content, target = layer(repository, version), f"{url.netloc}/{repository}:v{version}"
            Path("layer.tar.gz").write_bytes(content)
            client.push(target=target, files=[f"layer.tar.gz:{LAYER_TYPE}"], config_path=login)
            (pulled,) = client.pull(target=target, outdir=f"pulled-{version}", config_path=login)
            if Path(pulled).read_bytes() != content:
                raise SystemExit(f"{target}: what was pulled differs from what was pushed")
            print(f"{target}: sha256:{hashlib.sha256(content).hexdigest()} pushed and pulled, {len(content)} bytes")


if __name__ == "__main__":
    main()
