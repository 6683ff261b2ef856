"""The version, which stands only here, and the commit that a build was made from."""

import json
from functools import cache
from importlib.resources import files

__version__ = "0.1.0"


@cache
def origin() -> dict[str, str]:
    """``commit`` and ``time`` of a build by ``make dist``; empty for any other build."""
    stamp = files("reducto") / "build.json"
    return dict(json.loads(stamp.read_text())) if stamp.is_file() else {}


def describe() -> str:
    """``0.1.0 (commit 1a2b3c4, 2026-01-31T12:00:00Z)``, or the version alone."""
    stamp = origin()
    return f"{__version__} (commit {stamp['commit'][:12]}, {stamp['time']})" if stamp else __version__
