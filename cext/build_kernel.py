"""cffi builder of ``reducto._kernel``.

The declarations in ``api/*.h`` are plain C without preprocessor lines: the compiler includes them
through ``reducto_kernel.h`` and cffi reads the very same files, so the two cannot drift apart.
Every ``*.c`` file in ``matching/`` and ``deflate/`` is part of the kernel.
"""

import os
import sysconfig
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDERS = ("matching", "deflate")


def include_folders() -> list[str]:
    """The kernel's own headers; and ours in place of Python's where those are not installed.

    ``REDUCTO_STABLE_ABI_HEADERS=1`` takes ours although Python's are there (a test does).
    """
    own = str(HERE.relative_to(ROOT))
    installed = Path(sysconfig.get_path("include"), "Python.h").exists()
    if installed and os.environ.get("REDUCTO_STABLE_ABI_HEADERS") != "1":
        return [own]
    return [own, f"{own}/stable_abi"]


_SOURCES = sorted(path for folder in FOLDERS for path in (HERE / folder).glob("*.c"))

ffibuilder = FFI()
for declarations in sorted((HERE / "api").glob("*.h")):
    ffibuilder.cdef(declarations.read_text())

ffibuilder.set_source(
    "reducto._kernel",
    '#include "reducto_kernel.h"',
    sources=[str(path.relative_to(ROOT)) for path in _SOURCES],
    depends=[str(path.relative_to(ROOT)) for path in sorted(HERE.rglob("*.h"))],
    include_dirs=include_folders(),
    extra_compile_args=["-std=c11", "-O3", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wall", "-Wextra"],
    py_limited_api=True,
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
