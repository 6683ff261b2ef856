"""`reducto serve` says where to push to, what it stands before, and where data lie."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from reducto.config import CacheOptions, Config, ListenOptions, LogFormat, LoggingOptions, SpoolOptions, UpstreamOptions
from sidecar.runtime import logs
from sidecar.runtime.start_message import announce
from tests.support.sidecar import Sidecar


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("reducto.sidecar")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def config_of(folder: Path, url: str, form: LogFormat, address: str = "0.0.0.0") -> Config:
    return Config(
        listen=ListenOptions(address=address),
        upstream=UpstreamOptions(url=url),
        cache=CacheOptions(dir=folder / "cache"),
        spool=SpoolOptions(dir=folder / "spool"),
        logging=LoggingOptions(format=form),
    )


def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce(config_of(tmp_path, "https://ci:hunter2@registry.example/mirror", LogFormat.TEXT), 5000, 9090)
    said = capsys.readouterr()
    assert said.out == "", "standard output is for results"
    assert "docker push localhost:5000/team/app" in said.err
    assert "https://registry.example/mirror" in said.err
    assert "http://localhost:9090/health/ready" in said.err
    assert str(tmp_path / "cache") in said.err
    assert str(tmp_path / "spool") in said.err
    assert "hunter2" not in said.err


def test_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(tmp_path, str(tmp_path / "store"), LogFormat.JSON, address="10.1.2.3")
    logs.configure(config.logging.level, config.logging.format)
    announce(config, 5000, 9090)
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["event"], line["level"], line["address"]) == ("listening", "info", "10.1.2.3")
    assert (line["data_port"], line["control_port"], line["push_to"]) == (5000, 9090, "10.1.2.3:5000")
    assert line["upstream"] == str(tmp_path / "store")
    assert (line["cache_dir"], line["spool_dir"]) == (str(tmp_path / "cache"), str(tmp_path / "spool"))


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("127.0.0.1", "localhost"),
        ("fd00::5", "[fd00::5]"),
        ("lan", "lan"),
    ],
)
def test_hosts_that_a_user_can_type(
    address: str, host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(config_of(tmp_path, "store", LogFormat.TEXT, address), 5000, 9090)
    assert f"docker push {host}:5000/" in capsys.readouterr().err


def test_a_real_sidecar_says_it_when_its_ports_are_open(tmp_path: Path) -> None:
    with Sidecar(tmp_path / "sidecar", str(tmp_path / "store"), {"spool": {"min_free": 0}}) as sidecar:
        port = sidecar.host.rpartition(":")[2]
        assert f"docker push localhost:{port}/team/app" in sidecar.log
        assert str(tmp_path / "store") in sidecar.log
