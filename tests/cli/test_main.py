"""The command line finds commands, prints help, returns exit codes, and writes to the right stream."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from reducto.cli import main
from reducto.cli.command_table import COMMANDS, GROUPS, CommandEntry
from reducto.cli.console import Console
from reducto.trust.key_files import generate_key, load_signer
from tests.corpus.samples import noise, write_small

GOLDEN = Path(__file__).parents[1] / "golden" / "corpus" / "small-v1.rc"


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda e: e.name)
def test_every_command_in_the_table_exists_and_explains_itself(
    entry: CommandEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*entry.words, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert f"usage: reducto {entry.name}" in help_text
    assert "--json" in help_text


def test_the_overview_names_every_command_and_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for entry in COMMANDS:
        if len(entry.words) == 1:
            assert f"  {entry.name} " in overview
    for group in GROUPS:
        assert f"  {group} ..." in overview
        assert main([group, "--help"]) == 0
        listed = capsys.readouterr().out
        assert all(e.help in listed for e in COMMANDS if e.words[0] == group)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "usage: reducto COMMAND"),
        (["corpus"], "usage: reducto corpus COMMAND"),
        (["corpus", "verfy"], "did you mean 'corpus verify'"),
        (["corpsu"], "did you mean 'corpus'"),
        (["--nonsense"], "options follow the command"),
        (["corpus", "verify"], "--corpus"),
        (["corpus", "verify", "--corpus", "x", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_to_do(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_errors_have_their_exit_codes_and_json_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.rc").write_bytes(b"nothing of the kind")
    cases = {"no.rc": 3, "absent.rc": 2, str(GOLDEN): 5}
    for name, exit_code in cases.items():
        assert main(["corpus", "verify", "--corpus", str(tmp_path / name), "--json"]) == exit_code
        shown = capsys.readouterr()
        assert shown.out == ""
        assert json.loads(shown.err)["error"]["exit_code"] == exit_code


def test_importing_the_command_line_loads_no_heavy_module() -> None:
    program = "import sys, reducto.cli; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not {"aiohttp", "oras", "rocksdict", "cryptography", "corpus_builder"} & set(ran.stdout.split())


def test_a_closed_output_pipe_ends_the_program_quietly() -> None:
    pipeline = f"{sys.executable} -m reducto corpus inspect --corpus {GOLDEN} | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", pipeline], check=False, capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.returncode in (0, 141)


def test_verify_and_inspect_tell_who_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = generate_key(tmp_path / "key.pem")
    path = tmp_path / "c.rc"
    identity = write_small(path, signer=load_signer(str(files.private)), plain=noise(3_000_000))
    key_id = load_signer(str(files.private)).key_id
    assert main(["corpus", "verify", "--corpus", str(path), "--trust", str(files.public), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["verified"][0]
    assert (document["id"], document["signed_by"], document["signature_checked"]) == (identity, key_id, True)
    assert document["plain_bytes"] == 3_000_000
    assert main(["corpus", "inspect", "--corpus", str(path)]) == 0
    assert f"signed by {key_id} (not checked)" in capsys.readouterr().out


def test_verify_finds_damage_in_the_plain_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.rc"
    write_small(path, plain=noise(3_000_000))
    with path.open("r+b") as file:
        file.seek(4096 + 2_500_000)
        file.write(b"damage")
    assert main(["corpus", "verify", "--corpus", str(tmp_path), "--allow-unsigned"]) == 4
    assert "segment 2 " in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "options", "drawn"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"quiet": True}, False),
        (Terminal(), {"as_json": True}, False),
    ],
)
def test_progress_is_drawn_on_a_terminal_only(stream: io.StringIO, options: dict[str, bool], drawn: bool) -> None:
    console = Console(err=stream, **options)
    with console.progress("working", 1000) as progress:
        progress.advance(500)
    assert ("50% of 1000 B" in stream.getvalue()) == drawn
    assert bool(stream.getvalue()) == drawn
