"""Two days of logs that real programs wrote.

``build-1.log``, ``build-2.log``: what a CI runner keeps of a day: installs, downloads and test runs, a line at a
time with the moment it came, two rounds a day.  ``access-1.log``, ``access-2.log``: nginx in front of a tree of
documentation, asked for its pages by some hundred visitors of uneven habits and by a health check.
"""

import random
import socket
import subprocess
import sysconfig
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.data.cache import register, say
from tests.support.process import Daemon, find_tool, free_port, listens, run

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
BUILD_HOURS = (2, 14)
ACCESS_LINES_PER_DAY = 250_000
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
    "kube-probe/1.30",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.8.0",
)


@register("logs", "two days of build logs and of nginx access logs")
def build(folder: Path) -> None:
    for day in (1, 2):
        say(f"  build logs, day {day}")
        with (folder / f"build-{day}.log").open("w") as log:
            for hour in BUILD_HOURS:
                build_round(folder / "work", FIRST_DAY + timedelta(days=day, hours=hour), log.write)
        run("rm", "-rf", folder / "work")
        say(f"  access log, day {day}")
        access_log(folder / f"access-{day}.log", day)


def build_round(work: Path, moment: datetime, write: Callable[[str], object]) -> None:
    """One round of a build, each line of its programs with the moment when it came."""
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


def access_log(log: Path, day: int) -> None:
    """A day of requests, each really answered by nginx; only the clock is set to that day's hours."""
    nginx = find_tool("nginx")
    assert nginx is not None, "nginx is not installed"
    generator = random.Random(day)
    documents = Path(sysconfig.get_path("stdlib"))
    pages = sorted(str(path.relative_to(documents)) for path in documents.rglob("*.py"))[:3000]
    random.Random(0).shuffle(pages)
    raw, port = log.with_suffix(".raw"), free_port()
    config = log.with_suffix(".conf")
    config.write_text(_nginx_config(documents, raw, port))
    daemon = Daemon([nginx, "-c", config, "-g", "daemon off;"], log.with_suffix(".err"), listens(port))
    with daemon:
        _visit(port, pages, generator)
    _set_clock(raw, log, FIRST_DAY + timedelta(days=day))
    for leftover in (raw, config, log.with_suffix(".err"), log.with_suffix(".pid")):
        leftover.unlink(missing_ok=True)


def _nginx_config(documents: Path, log: Path, port: int) -> str:
    form = '$http_x_forwarded_for - - [@@] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
    return f"""
worker_processes 1;
pid {log.with_suffix(".pid")};
error_log {log.with_suffix(".err")} crit;
events {{}}
http {{
    log_format day '{form}';
    access_log {log} day buffer=64k;
    keepalive_requests 1000000;
    server {{ listen 127.0.0.1:{port}; root {documents}; default_type text/plain; }}
}}
"""


def _visit(port: int, pages: list[str], generator: random.Random) -> None:
    """The day's requests over one connection, pipelined; answers are read and dropped."""
    visitors = [f"203.0.{generator.randrange(114)}.{generator.randrange(256)}" for _ in range(400)]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(ACCESS_LINES_PER_DAY // 100):
            batch = b"".join(_request(pages, visitors, generator) for _ in range(100))
            connection.sendall(batch)
            answers = 0
            tail = b""
            while answers < 100:
                data = tail + connection.recv(1 << 20)
                answers += data.count(b"HTTP/1.1 ")
                tail = data[-8:]


def _request(pages: list[str], visitors: list[str], generator: random.Random) -> bytes:
    if generator.random() < 0.3:
        visitor, page, agent = "10.0.0.1", "LICENSE.txt", AGENTS[3]
    else:
        who = min(int(generator.paretovariate(0.8)), len(visitors)) - 1
        page = pages[min(int(generator.paretovariate(0.7)), len(pages)) - 1]
        visitor, agent = visitors[who], AGENTS[who % len(AGENTS)]
    return (
        f"HEAD /{page} HTTP/1.1\r\nHost: docs\r\nUser-Agent: {agent}\r\nX-Forwarded-For: {visitor}\r\n\r\n"
    ).encode()


def _set_clock(raw: Path, log: Path, midnight: datetime) -> None:
    """Spread the lines evenly over the day."""
    with raw.open() as lines, log.open("w") as out:
        for number, line in enumerate(lines):
            moment = midnight + timedelta(seconds=number * 86_400 / ACCESS_LINES_PER_DAY)
            out.write(line.replace("@@", moment.strftime("%d/%b/%Y:%H:%M:%S +0000"), 1))
