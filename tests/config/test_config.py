"""The configuration: the order of its sources, units, refusals that name the mistake, and exports of the schema."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reducto.config import Config, ConfigError, Policy, Role, Scope, load
from reducto.config.config_keys import all_keys
from reducto.config.export import json_schema, markdown, plain, value_of
from reducto.config.fields import format_seconds, format_size, parse_seconds, parse_size

SIDECAR = """
role: edge
upstream: {url: "https://registry.example", ca_file: /etc/reducto/ca.pem, read_timeout: 5m}
dedupe: {scope: namespace}
corpora: [golden-v1, "oci://registry.example/corpora/python:3.12"]
cache: {max_size: 128MiB}
"""


def write(folder: Path, text: str, name: str = "sidecar.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(folder: Path, text: str, name: str = "sidecar.yaml", **variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text, name), environment=variables)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_yaml_becomes_typed_values(tmp_path: Path) -> None:
    config = load(write(tmp_path, SIDECAR), environment={}).config
    assert config.role is Role.EDGE
    assert config.dedupe.scope is Scope.NAMESPACE
    assert config.upstream.ca_file == Path("/etc/reducto/ca.pem")
    assert config.upstream.read_timeout == 300.0
    assert config.cache.max_size == 128 << 20
    assert config.corpora == ("golden-v1", "oci://registry.example/corpora/python:3.12")
    assert config.policy is Policy.REPLACE


def test_toml_and_yaml_are_the_same_schema(tmp_path: Path) -> None:
    toml = write(tmp_path, '[corpus]\nmemory_mapped = false\n[compression]\nchunk_size = "16KiB"\n', "reducto.toml")
    yaml = write(tmp_path, "corpus: {memory_mapped: false}\ncompression: {chunk_size: 16384}\n")
    assert load(toml, environment={}).config == load(yaml, environment={}).config


def test_later_sources_win_and_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    user = tmp_path / "xdg" / "reducto"
    user.mkdir(parents=True)
    write(
        user,
        '[compression]\ncompression_level = 3\nchunk_size = 4096\n[cache]\nmax_size = "1GiB"\n',
        "config.toml",
    )
    write(tmp_path, "[compression]\ncompression_level = 4\nchunk_size = 8192\n", "reducto.toml")
    variables = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "REDUCTO_COMPRESSION_COMPRESSION_LEVEL": "5"}
    loaded = load(environment=variables)
    assert loaded.config.compression.compression_level == 5
    assert loaded.config.compression.chunk_size == 8192
    assert loaded.config.cache.max_size == 1 << 30
    assert loaded.origin("compression.compression_level") == "REDUCTO_COMPRESSION_COMPRESSION_LEVEL"
    assert loaded.origin("compression.chunk_size") == "reducto.toml"
    assert loaded.origin("listen.data_port") == "default"
    flagged = load(environment=variables, overrides={"compression.compression_level": 6})
    assert flagged.config.compression.compression_level == 6


def test_a_named_file_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "[cache]\nmax_size = 1048576\n", "reducto.toml")
    named = write(tmp_path, "listen: {data_port: 0}")
    assert load(named, environment={}).config.cache == Config().cache
    assert load(environment={"REDUCTO_CONFIG": str(named)}).config.listen.data_port == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upstream: {ca_fiel: x}", "upstream.ca_fiel: unknown key; did you mean upstream.ca_file?"),
        ("lisen: {data_port: 1}", "lisen: unknown key; did you mean"),
        ("cache: {max_size: 12 parsecs}", 'cache.max_size must be a size such as "512KiB"'),
        ("cache: {max_size: -1}", "cache.max_size must be a size"),
        ("limits: {upload_idle: [1]}", "limits.upload_idle must be a duration"),
        ("listen: {data_port: 70000}", "listen.data_port must be at most 65535"),
        ("listen: {data_port: true}", "listen.data_port must be a whole number"),
        ("listen: 5000", "listen must be a section"),
        ("role: middle", "role must be one of origin, edge"),
        ("corpora: golden-v1", "corpora must be a list"),
        ("role: edge\nrole: origin", "a key stands twice"),
        ("[1, 2]", "must hold keys and values"),
        ("role: [", "sidecar.yaml"),
        ("role: edge", "upstream.url of an edge must be the http(s) address"),
        ("upstream: {client_key_file: k}", "client_key_file go together"),
        ("upstream: {url: 'ftp://x'}", "upstream.url must begin with http:// or https://"),
        ("upstream: {url: 'http://me:secret@x'}", "upstream.url must hold no user"),
        ("listen: {tls: {key_file: k}}", "listen.tls needs both"),
        ("listen: {data_port: 9090}", "listen.control_port must differ"),
        ("security: {signing: {required: true}}", "needs trusted_keys"),
        ("security: {encryption: {keys: [/k], repositories: [team]}}", "holds 'team'"),
        ("security: {encryption: {repositories: ['team/*=/k']}}", "security.encryption.keys is needed"),
        ("security: {access: {trusted_proxies: [10.0.0.1/8]}}", "holds '10.0.0.1/8'"),
        ("spool: {dir: /x}\ncache: {dir: /x}", "cache.dir must differ"),
        ("dedupe: {index: 'http://x'}", "dedupe.index must be a redis://"),
        ("role: edge\npolicy: attach\nupstream: {url: 'http://x'}", "policy is for an origin"),
    ],
)
def test_refusals_say_where_and_what(tmp_path: Path, text: str, expected: str) -> None:
    message = problems(tmp_path, text)
    assert expected in message
    assert str(tmp_path / "sidecar.yaml") in message


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = problems(tmp_path, "listen: {data_prt: 1}\nrole: x", REDUCTO_CACHE_MAX_SIZE="big")
    file = str(tmp_path / "sidecar.yaml")
    assert sorted(line.split(": ")[0] for line in text.splitlines()) == sorted([file, file, "REDUCTO_CACHE_MAX_SIZE"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load(tmp_path / "absent.toml", environment={})


def test_every_key_can_be_set_by_file_environment_and_override(tmp_path: Path) -> None:
    """A value that differs from the default is read from a file, from the environment and from an override alike."""
    for key in all_keys().values():
        text = _another_value(key)
        variables = {"REDUCTO_UPSTREAM_URL": "http://x", "REDUCTO_SECURITY_SIGNING_TRUSTED_KEYS": "/p"}
        variables["REDUCTO_SECURITY_ENCRYPTION_KEYS"] = "/kek"
        if key.name.endswith(("certificate_file", "key_file")):
            section = key.variable.removesuffix("CERTIFICATE_FILE").removesuffix("KEY_FILE")
            variables |= {f"{section}CERTIFICATE_FILE": "/c", f"{section}KEY_FILE": "/k"}
        variables[key.variable] = text
        loaded = load(write(tmp_path, ""), environment=variables)
        assert value_of(loaded.config, key) != key.default, key.name
        held = plain(key, value_of(loaded.config, key))
        variables.pop(key.variable)
        again = load(write(tmp_path, ""), environment=variables, overrides={key.name: held})
        assert again.config == loaded.config, key.name


def _another_value(key: object) -> str:
    default = key.default  # type: ignore[attr-defined]
    special = {
        "role": "edge",
        "policy": "attach",
        "dedupe.scope": "registry",
        "security.signing.bind": "digest",
        "security.encryption.repositories": "team/*=/keys/team",
        "dedupe.index": "redis://x",
        "logging.level": "debug",
        "logging.format": "json",
        "security.access.trusted_proxies": "10.0.0.0/8",
        "compression.chunk_size": "16KiB",
        "upstream.url": "http://y",
    }
    if key.name in special:  # type: ignore[attr-defined]
        return special[key.name]  # type: ignore[attr-defined]
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, int | float):
        return str(default + (0.5 if isinstance(default, float) and default < 1 else 1))
    return "/elsewhere"


def test_environment_names_are_unambiguous() -> None:
    names = [key.variable for key in all_keys().values()]
    assert len(set(names)) == len(names)
    assert "REDUCTO_CONFIG" not in names


def test_unrelated_variables_are_left_alone(tmp_path: Path) -> None:
    """Kubernetes sets variables such as REDUCTO_PORT for a service named reducto, which are no settings."""
    load(write(tmp_path, ""), environment={"REDUCTO_PORT": "tcp://10.0.0.1:5000", "REDUCTO_SERVICE_HOST": "x"})


def test_defaults_pass_their_own_schema() -> None:
    config = Config()
    document: dict[str, object] = {}
    for key in all_keys().values():
        node = document
        for name in key.path[:-1]:
            node = node.setdefault(name, {})  # type: ignore[assignment]
        node[key.path[-1]] = plain(key, value_of(config, key))
    jsonschema.Draft7Validator.check_schema(json_schema())
    jsonschema.validate(document, json_schema())


@pytest.mark.parametrize(
    "document",
    [
        {"lisen": {}},
        {"cache": {"max_size": "big"}},
        {"role": "x"},
        {"listen": {"data_port": 70000}},
        {"corpora": "x"},
    ],
)
def test_json_schema_refuses_what_loading_refuses(tmp_path: Path, document: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schema())
    problems(tmp_path, json.dumps(document))


def test_every_key_is_documented() -> None:
    for key in all_keys().values():
        assert key.doc.endswith((".", "`")), key.name
        assert f"| `{key.path[-1]}` |" in markdown()
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert markdown() in page.read_text(), "run: make generate"


@given(st.integers(0, 1 << 50))
def test_sizes_round_trip(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**8).map(lambda ms: ms / 1000))
def test_durations_round_trip(seconds: float) -> None:
    assert parse_seconds(format_seconds(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "MiB", "1 XB", "1e9", "0x10", "1,5GiB", "٣MiB", "-1s"])
def test_a_text_without_number_and_unit_is_refused(text: str) -> None:
    for parse in (parse_size, parse_seconds):
        with pytest.raises(ValueError, match="must be a"):
            parse(text)


def test_home_is_expanded(tmp_path: Path) -> None:
    assert load(write(tmp_path, "spool: {dir: ~/spool}"), environment={}).config.spool.dir == Path(
        os.path.expanduser("~/spool")
    )
