"""What a test needs from the machine: a visible skip where it is missing, a failure where it was promised."""

import os

import pytest

from tests.support.process import find_tool
from tests.support.registries import PROGRAMS

#: Programs that no package registry carries: used wherever somebody has installed them, promised nowhere.
NOT_PACKAGED = frozenset({"zot", "buildkitd", "buildctl"})


def require_tool(*names: str) -> None:
    """Skip the calling test unless all these programs are installed.

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
    """The same for a kind of registry."""
    require_tool(PROGRAMS[kind])


def require_root() -> None:
    """The same for what only root may do: container engines, namespaces."""
    if os.geteuid() == 0:
        return
    if promised():
        pytest.fail("needs root")
    pytest.skip("needs root")


def promised() -> bool:
    """Whether this run promises that everything ``.ci/install`` installs is there."""
    return os.environ.get("REDUCTO_REQUIRE_INTEGRATION") == "1"
