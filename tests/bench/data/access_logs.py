"""Two days in the life of an internal mirror, as nginx logs them.

The mirror holds Python packages with an index, a tree of sources and a git repository. Real programs request them by a
timetable, as in a company's network: pip on build machines, ``wget --mirror`` on mirrors of the mirror, git looking for
new commits, curl as health check and as monitor. The programs make every request and nginx answers it, so the order,
statuses, lengths and user agents are real. Between the days some sources change, two packages get a new version and the
repository a commit. The mirrors have a copy from the day before, so most answers to them have the status 304.

Three things are not real. A day takes a minute: the time of each line is the time at which the timetable would have
started its program, plus the seconds that really passed since the start; and the health checks of a day are one
process, each check on its second. All clients run on one machine, and each is known by a local address of its own.
Nobody makes unplanned requests: the log of a site with human visitors repeats far less of the day before.
"""

import os
import random
import shutil
import sys
import sysconfig
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.data.cache import register, say
from tests.support.process import Daemon, find_tool, free_port, listens, run

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY_SECONDS = 86_400
SOURCES_LIMIT = 1500
CHANGED_SOURCES = 40
REQUIREMENTS = ("django", "requests", "celery")
OLD_VERSIONS = ("django==5.0.6", "requests==2.31.0", "celery==5.4.0")
NEW_VERSIONS = ("django==5.0.9", "requests==2.32.3")
CHECKERS, MONITOR, BUILDERS, MIRRORS, WATCHERS = (1, 2), 3, (4, 5, 6), (7, 8, 9), (10, 11)
CLIENTS = 11

#: Gives the second of the day for a job's line, from the line's number and the real seconds since the job's start.
Schedule = Callable[[int, float], float]


@dataclass(frozen=True)
class Job:
    """A program that the timetable starts: the real time of its start, and the times that its lines get."""

    started: float
    schedule: Schedule


@register("access-logs", "two days of an nginx log: a mirror asked by pip, wget, git and curl by a timetable")
def build(folder: Path) -> None:
    work = folder / "work"
    site = make_site(work / "site")
    with Mirror(work, site) as mirror:
        for day in (0, 1, 2):
            say(f"  access log, day {day}")
            if day == 2:
                change_site(site)
            mirror.live_a_day()
            mirror.write_log(folder / f"access-{day}.log", FIRST_DAY + timedelta(days=day))
    (folder / "access-0.log").unlink()
    shutil.rmtree(work)


# -- the content of the mirror -------------------------------------------------------------------------------


def make_site(site: Path) -> Path:
    """The mirror's content on the first day."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    for path in random.Random(0).sample(files, min(SOURCES_LIMIT, len(files))):
        target = site / "sources" / path.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    add_packages(site, OLD_VERSIONS)
    (site / "healthz").write_text("ok\n")
    git("init", "--quiet", site / "work-tree")
    shutil.copytree(site / "sources" / "json", site / "work-tree" / "json", dirs_exist_ok=True)
    commit(site, "first")
    return site


def change_site(site: Path) -> None:
    """Changes the content for the second day."""
    sources = sorted((site / "sources").rglob("*.py"))
    for path in random.Random(2).sample(sources, CHANGED_SOURCES):
        path.write_bytes(path.read_bytes() + b"# reviewed\n")
    add_packages(site, NEW_VERSIONS)
    (site / "work-tree" / "NEWS").write_text("reviewed\n")
    commit(site, "second")


def add_packages(site: Path, requirements: tuple[str, ...]) -> None:
    """Downloads the wheels of these and of their dependencies, each into its project's folder of the index."""
    arrived = site.parent / "arrived"
    run(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", arrived, *requirements)
    for wheel in arrived.iterdir():
        project = site / "simple" / wheel.name.split("-")[0].lower().replace("_", "-")
        project.mkdir(parents=True, exist_ok=True)
        wheel.replace(project / wheel.name)


def commit(site: Path, message: str) -> None:
    """Commits the work tree and publishes it for git's plain HTTP protocol."""
    tree, bare = site / "work-tree", site / "project.git"
    git("-C", tree, "add", ".")
    git("-C", tree, "-c", "user.name=mirror", "-c", "user.email=mirror@example.org", "commit", "--quiet", "-m", message)
    shutil.rmtree(bare, ignore_errors=True)
    git("clone", "--quiet", "--bare", tree, bare)
    git("-C", bare, "update-server-info")


def git(*arguments: str | Path) -> None:
    """Runs git without the settings of the machine and its user."""
    run("git", *arguments, env={"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull})


# -- the clients -----------------------------------------------------------------------------------------------


class Mirror:
    """nginx, its clients with the copies that they keep from day to day, and the log."""

    def __init__(self, work: Path, site: Path) -> None:
        self._work, self._port = work, free_port()
        self._raw = work / "raw.log"
        self._jobs: list[Job] = []
        self._seen = 0
        config = work / "nginx.conf"
        config.write_text(_nginx_config(work, site, self._port))
        nginx = find_tool("nginx")
        assert nginx is not None, "nginx is not installed"
        command = [nginx, "-c", config, "-g", "daemon off;"]
        self._daemon = Daemon(command, work / "nginx.out", listens(self._port))

    def __enter__(self) -> "Mirror":
        self._daemon.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._daemon.__exit__(None, None, None)

    def live_a_day(self) -> None:
        """Runs every job of a day."""
        for client in CHECKERS:
            self._check(client, ["/healthz"], 10, "--silent")
        self._check(MONITOR, ["/simple/", "/sources/"], 60, "--silent", "--head")
        for client in BUILDERS:
            for hour in (2, 9, 14, 19):
                self._at(client, hour * 3600 + client * 67, self._build)
        for client in MIRRORS:
            for hour in (1, 7, 13, 21):
                self._at(client, hour * 3600 + client * 131, self._mirror)
        for client in WATCHERS:
            for round_ in range(DAY_SECONDS // 600):
                self._at(client, round_ * 600 + client, self._watch)

    def _url(self, client: int) -> str:
        return f"http://127.0.0.{client}:{self._port}"

    def _at(self, client: int, second: int, program: Callable[[int], None]) -> None:
        time.sleep(0.01)  # because nginx writes a line after its answer
        self._jobs.append(Job(time.time(), lambda _, elapsed: second + elapsed))
        program(client)

    def _check(self, client: int, paths: list[str], every: int, *options: str) -> None:
        time.sleep(0.01)
        wanted = "".join(f'url = "{self._url(client)}{path}"\noutput = "{os.devnull}"\n' for path in paths) * (
            DAY_SECONDS // every
        )
        self._jobs.append(Job(time.time(), lambda number, _: number // len(paths) * every + client))
        run("curl", *options, "--noproxy", "*", "--config", "-", stdin=wanted.encode())

    def _build(self, client: int) -> None:
        fetched = self._work / "fetched"
        run(sys.executable, "-m", "pip", "--isolated", "download", "--quiet", "--no-cache-dir", "--dest", fetched,
            "--disable-pip-version-check", "--only-binary=:all:", "--index-url", self._url(client) + "/simple/",
            "--trusted-host", f"127.0.0.{client}", *REQUIREMENTS, env={"no_proxy": "*"})  # fmt: skip
        shutil.rmtree(fetched)

    def _mirror(self, client: int) -> None:
        copy = self._work / f"copy-{client}"
        copy.mkdir(exist_ok=True)
        run("wget", "--quiet", "--no-proxy", "--mirror", "--no-parent", "--execute", "robots=off",
            "--directory-prefix", copy, self._url(client) + "/sources/")  # fmt: skip

    def _watch(self, client: int) -> None:
        run("git", "ls-remote", self._url(client) + "/project.git", env={"no_proxy": "*"})

    # -- the log ---------------------------------------------------------------------------------------------

    def write_log(self, log: Path, midnight: datetime) -> None:
        """Writes the lines since the last day, in the order of their times."""
        time.sleep(0.1)
        lines = sorted(self._timed_lines(), key=lambda line: line[0])
        with log.open("w") as out:
            for second, text in lines:
                moment = midnight + timedelta(seconds=int(second))
                out.write(text.replace("@@", moment.strftime("%d/%b/%Y:%H:%M:%S +0000"), 1))
        self._jobs.clear()

    def _timed_lines(self) -> Iterator[tuple[float, str]]:
        starts = [job.started for job in self._jobs]
        counts = [0] * len(starts)
        with self._raw.open() as raw:
            raw.seek(self._seen)
            for line in raw:
                self._seen += len(line.encode())
                at, text = line.split(" ", 1)
                number = bisect_right(starts, float(at) + 0.002) - 1
                job = self._jobs[number]
                yield job.schedule(counts[number], float(at) - job.started), text
                counts[number] += 1


def _nginx_config(work: Path, site: Path, port: int) -> str:
    form = (
        '$msec $server_addr - $remote_user [@@] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
    )
    addresses = "".join(f"listen 127.0.0.{client}:{port}; " for client in range(1, CLIENTS + 1))
    return f"""
worker_processes 1;
user {"root" if os.geteuid() == 0 else "nobody"};
pid {work}/nginx.pid;
error_log {work}/nginx.err crit;
events {{}}
http {{
    types {{ text/html html; text/plain py; }}
    log_format mirror '{form}';
    access_log {work}/raw.log mirror;
    keepalive_requests 1000000;
    server {{ {addresses}root {site}; autoindex on; default_type application/octet-stream; }}
}}
"""
