"""cffi builder of ``reducto._kernel``.

The declarations in ``api/*.h`` are plain C without preprocessor lines: the compiler includes them
through ``reducto_kernel.h`` and cffi reads the very same files, so the two cannot drift apart.
Every ``*.c`` file beside this one is part of the kernel.
"""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

ffibuilder = FFI()
for declarations in sorted((HERE / "api").glob("*.h")):
    ffibuilder.cdef(declarations.read_text())

ffibuilder.set_source(
    "reducto._kernel",
    '#include "reducto_kernel.h"',
    sources=[str(path.relative_to(ROOT)) for path in sorted(HERE.glob("*.c"))],
    depends=[str(path.relative_to(ROOT)) for path in sorted(HERE.rglob("*.h"))],
    include_dirs=[str(HERE.relative_to(ROOT))],
    extra_compile_args=["-std=c11", "-O3", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wall", "-Wextra"],
    py_limited_api=True,
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
