"""What a test needs from the machine. A missing requirement skips the test visibly, and fails it in CI."""

import os

import pytest

from tests.support.process import find_tool
from tests.support.registries import PROGRAMS

#: Programs that no package registry has. Tests use them if they are installed, and are skipped otherwise, also in CI.
NOT_PACKAGED = frozenset({"zot", "buildkitd", "buildctl"})


def require_tool(*names: str) -> None:
    """Skips the calling test unless all these programs are installed.

    With ``REDUCTO_REQUIRE_INTEGRATION=1``, as in CI, a missing program fails the test instead.
    """
    missing = [name for name in names if find_tool(name) is None]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)} (see .ci/install)"
    if promised() and not set(missing) <= NOT_PACKAGED:
        pytest.fail(reason)
    pytest.skip(reason)


def require_registry(kind: str) -> None:
    """Skips the calling test unless the program of this kind of registry is installed."""
    require_tool(PROGRAMS[kind])


def require_root() -> None:
    """Skips the calling test unless it runs as root, which container engines and namespaces need."""
    if os.geteuid() == 0:
        return
    if promised():
        pytest.fail("needs root")
    pytest.skip("needs root")


def promised() -> bool:
    """Whether this run requires that everything which ``.ci/install`` installs is there."""
    return os.environ.get("REDUCTO_REQUIRE_INTEGRATION") == "1"
