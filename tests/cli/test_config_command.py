"""``reducto config`` prints and writes what it should, with the right exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reducto.cli import main


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("REDUCTO_CONFIG", raising=False)


def test_get_shows_what_set_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "set", "compression.compression_level", "12"]) == 0
    assert main(["config", "set", "corpus.repositories", "oci://r/corpora, /srv/corpora"]) == 0
    capsys.readouterr()
    assert main(["config", "get", "corpus.repositories"]) == 0
    assert capsys.readouterr().out == "oci://r/corpora, /srv/corpora\n"
    assert main(["config", "get", "compression.compression_level", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "compression.compression_level": {"value": 12, "origin": str(tmp_path / "xdg" / "reducto" / "config.toml")}
    }


def test_set_keeps_comments_and_changes_the_file_in_the_directory(tmp_path: Path) -> None:
    file = tmp_path / "reducto.toml"
    file.write_text("# ours\n[compression]\nchunk_size = 8192 # bytes\n")
    assert main(["config", "set", "cache.max_size", "1GiB"]) == 0
    assert file.read_text() == '# ours\n[compression]\nchunk_size = 8192 # bytes\n\n[cache]\nmax_size = "1GiB"\n'


def test_an_empty_value_unsets_a_key(tmp_path: Path) -> None:
    file = tmp_path / "reducto.toml"
    file.write_text('[upstream]\nca_file = "/ca.pem"\n')
    assert main(["config", "set", "upstream.ca_file", ""]) == 0
    assert "ca_file" not in file.read_text()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("compression.level", "3", "did you mean compression.compression_level?"),
        ("compression.compression_level", "40", "must be at most 19"),
        ("listen.data_port", "9090", "must differ"),
    ],
)
def test_a_refused_set_leaves_the_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: str, message: str
) -> None:
    file = tmp_path / "reducto.toml"
    file.write_text("[compression]\n")
    assert main(["config", "set", key, value]) == 2
    assert message in capsys.readouterr().err
    assert file.read_text() == "[compression]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["reducto.toml"]


def test_set_does_not_touch_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text("role: origin\n")
    assert main(["config", "set", "role", "edge", "--config", "s.yaml"]) == 2
    assert "edit YAML by hand" in capsys.readouterr().err


def test_check_names_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("upstream: {url: 'https://r', ca_file: /absent.pem}\n")
    assert main(["config", "check", "--config", str(file)]) == 0
    assert f"2 keys set by {file}" in capsys.readouterr().out
    assert main(["config", "check", "--files", "--config", str(file)]) == 2
    assert "upstream.ca_file: /absent.pem cannot be read" in capsys.readouterr().err
    file.write_text("lisen: {}\nrole: x\n")
    assert main(["config", "check", "--config", str(file), "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["kind"] == "ConfigError"
    assert len(error["message"].splitlines()) == 2


def test_get_without_a_key_and_schema_print_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "get"]) == 0
    assert "listen.data_port = 5000  # default" in capsys.readouterr().out
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["additionalProperties"] is False
