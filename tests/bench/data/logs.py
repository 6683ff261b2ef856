"""Two days of a build log, as a CI runner writes it for installs, downloads and test runs, two rounds a day.

Real programs write the lines, and each line gets the time at which it was written. Only the day and hour are chosen.
"""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.data.cache import register, say
from tests.support.process import run

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
BUILD_HOURS = (2, 14)


@register("logs", "two days of build logs")
def build(folder: Path) -> None:
    for day in (1, 2):
        say(f"  build logs, day {day}")
        with (folder / f"build-{day}.log").open("w") as log:
            for hour in BUILD_HOURS:
                build_round(folder / "work", FIRST_DAY + timedelta(days=day, hours=hour), log.write)
        run("rm", "-rf", folder / "work")


def build_round(work: Path, moment: datetime, write: Callable[[str], object]) -> None:
    """Runs one round of a build; each line of its programs' output gets the time at which it was written."""
    run("rm", "-rf", work)
    work.mkdir(parents=True)
    started = datetime.now(UTC)
    for command in (
        ["python3", "-m", "venv", str(work / "venv")],
        [str(work / "venv/bin/pip"), "install", "-vv", "--no-cache-dir", "django", "requests", "celery", "pytest"],
        [str(work / "venv/bin/python"), "-m", "compileall", "-f", str(work / "venv/lib")],
        ["apt-get", "install", "--simulate", "-y", "postgresql", "nginx", "build-essential"],
        ["npm", "install", "--loglevel=verbose", "--no-audit", "--prefix", str(work), "express", "typescript"],
        [str(work / "venv/bin/python"), "-m", "unittest", "-v", "test.test_json", "test.test_difflib"],
    ):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=work) as process:
            assert process.stdout is not None
            for line in process.stdout:
                now = moment + (datetime.now(UTC) - started)
                write(f"{now.isoformat(timespec='microseconds')} {line.decode(errors='replace').rstrip()}\n")
