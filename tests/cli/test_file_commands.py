"""The codec's commands as a user types them, on files, folders and pipes, with ranges, keys, reports and refusals."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from reducto.cli import main
from reducto.crypt import generate_kek
from tests.codec.samples import make_corpus, make_tar, words

REPORT_KEYS = {
    "input_bytes", "plain_bytes", "output_bytes", "gzip_bytes", "zstd_bytes", "ratio_to_input", "ratio_to_gzip",
    "hit_rate", "copied_bytes", "delta_bytes", "literal_bytes", "encoder", "recipe_bytes",
    "differential_advantage_score", "decision", "reason", "seconds",
}  # fmt: skip


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two versions of a file and a corpus of the older one."""
    monkeypatch.chdir(tmp_path)
    old = make_tar({"app/main.py": words(90_000), "app/data.bin": random.Random(1).randbytes(70_000)})
    new = make_tar({"app/main.py": words(90_000), "app/data.bin": random.Random(1).randbytes(70_001)}, mtime=1)
    Path("old.tar").write_bytes(old)
    Path("new.tar").write_bytes(new)
    make_corpus(tmp_path / "old.rc", old).close()
    return tmp_path


CORPUS = ["--corpus", "old.rc", "--allow-unsigned"]


def run(*words_: str) -> int:
    return main(list(words_))


def test_decompress_gives_the_bytes_that_compress_read(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compress", "--input", "new.tar", *CORPUS, "--output", "new.reducto", "--json") == 0
    receipt = json.loads(capsys.readouterr().out)
    assert receipt["output_bytes"] == Path("new.reducto").stat().st_size < 3000
    assert run("decompress", "--input", "new.reducto", *CORPUS, "--output", "back.tar") == 0
    assert Path("back.tar").read_bytes() == Path("new.tar").read_bytes()
    assert sorted(p.name for p in case.iterdir()) == ["back.tar", "new.reducto", "new.tar", "old.rc", "old.tar"]


def test_long_runs_of_zeros_become_holes(case: Path) -> None:
    """A rebuilt disk image takes no more disk space than the original, as with cp and zstd."""
    image = bytes(3 << 20) + Path("new.tar").read_bytes() + bytes((5 << 20) + 17)
    Path("disk.img").write_bytes(image)
    assert run("compress", "--input", "disk.img", *CORPUS, "--output", "disk.reducto", "--quiet") == 0
    assert run("decompress", "--input", "disk.reducto", *CORPUS, "--output", "back.img", "--quiet") == 0
    assert Path("back.img").read_bytes() == image
    assert Path("back.img").stat().st_blocks * 512 < 1 << 20


def test_a_directory_of_corpora_can_be_given(case: Path) -> None:
    assert run("compress", "--input", "new.tar", "--corpus", ".", "--allow-unsigned", "--output", "o") == 0
    assert Path("o").stat().st_size < 3000


@pytest.mark.parametrize(
    ("asked", "span"), [("0-0", (0, 1)), ("1000-1999", (1000, 2000)), ("150000-", (150_000, None))]
)
def test_a_range_of_bytes_is_rebuilt(case: Path, asked: str, span: tuple[int, int | None]) -> None:
    run("compress", "--input", "new.tar", *CORPUS, "--output", "new.reducto")
    assert run("decompress", "--input", "new.reducto", *CORPUS, "--output", "part", "--range", asked) == 0
    assert Path("part").read_bytes() == Path("new.tar").read_bytes()[slice(*span)]


@pytest.mark.parametrize("asked", ["5", "9-3", "99999999-", "a-b"])
def test_a_wrong_range_is_refused(case: Path, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("compress", "--input", "new.tar", *CORPUS, "--output", "new.reducto")
    assert run("decompress", "--input", "new.reducto", *CORPUS, "--output", "part", "--range", asked) == 2
    assert "--range" in capsys.readouterr().err
    assert not Path("part").exists()


def test_input_and_output_may_be_pipes(case: Path) -> None:
    reducto = [sys.executable, "-m", "reducto"]
    new = Path("new.tar").read_bytes()
    made = subprocess.run(
        [*reducto, "compress", "--input", "-", "--output", "-"], input=new, capture_output=True, check=True
    )
    back = subprocess.run(
        [*reducto, "decompress", "--input", "-", "--output", "-"], input=made.stdout, capture_output=True, check=True
    )
    assert back.stdout == new
    assert b"\r" not in made.stderr, "there is no progress bar, because standard error is not a terminal"


def test_a_folder_is_a_deterministic_tar(case: Path) -> None:
    folder = case / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b").write_bytes(words(30_000))
    (folder / "a").write_bytes(words(20_000, seed=2))
    for output in ("one", "two"):
        assert run("compress", "--input", "tree", "--output", output) == 0
    assert Path("one").read_bytes() == Path("two").read_bytes()
    run("decompress", "--input", "one", "--output", "tree.tar")
    with tarfile.open("tree.tar") as tar:
        assert tar.getnames() == ["a", "sub", "sub/b"]


def test_an_encrypted_file_opens_with_its_key_only(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("key", "other"):
        Path(name).write_text(generate_kek())
        Path(name).chmod(0o600)
    assert run("compress", "--input", "new.tar", "--output", "encrypted", "--encrypt", "key") == 0
    assert run("decompress", "--input", "encrypted", "--output", "back", "--key", "key") == 0
    assert Path("back").read_bytes() == Path("new.tar").read_bytes()
    assert run("decompress", "--input", "encrypted", "--output", "x") == 2
    assert "--key" in capsys.readouterr().err
    assert run("decompress", "--input", "encrypted", "--output", "x", "--key", "other") == 8
    encrypted = Path("encrypted").read_bytes()
    for at in range(0, len(encrypted), len(encrypted) // 60):
        Path("bent").write_bytes(encrypted[:at] + bytes([encrypted[at] ^ 4]) + encrypted[at + 1 :])
        assert run("decompress", "--input", "bent", "--output", "x", "--key", "key") in (3, 4, 8)
    assert not Path("x").exists()


def test_json_report_has_its_fields(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "--input", "new.tar", *CORPUS, "--report-format", "json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() >= REPORT_KEYS
    assert report["ratio_to_gzip"] > 20
    assert (
        report["copied_bytes"] + report["repeated_bytes"] + report["delta_bytes"] + report["literal_bytes"]
        == report["plain_bytes"]
    )
    assert report["decision"] == "reduce"


def test_the_encoder_of_a_gzip_file_is_named(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.tar.gz").write_bytes(gzip.compress(Path("new.tar").read_bytes(), 6, mtime=0))
    assert run("analyze", "--input", "new.tar.gz", *CORPUS, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["gzip_level"], report["gzip_mispredictions"], report["gzip_confidence"]) == (6, 0, 1)
    assert "zlib" in report["gzip_encoder"] == report["encoder"]
    assert report["output_bytes"] < report["input_bytes"] / 10


def test_text_and_html_reports_hold_the_result(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analyze", "--input", "new.tar", *CORPUS) == 0
    assert "times less than gzip" in capsys.readouterr().out
    assert run("analyze", "--input", "new.tar", *CORPUS, "--report-format", "html") == 0
    page = capsys.readouterr().out
    assert page.startswith("<!doctype html>")
    assert "http" not in page, "the page must not need anything from elsewhere"


def test_benchmark_recommends_and_advises_against(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("alike", "noise"):
        Path(folder).mkdir()
    for i in range(8):
        Path(f"alike/{i}.tar").write_bytes(
            make_tar({"lib.so": random.Random(7).randbytes(3_000_000), "v": words(3000, i)})
        )
        Path(f"noise/{i}").write_bytes(random.Random(i).randbytes(100_000))
    assert run("benchmark", "--input", "alike", "--json") == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "RECOMMENDED"
    assert run("benchmark", "--input", "noise") == 0
    assert "NOT RECOMMENDED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["compress", "--input", "absent", "--output", "o"], 2, "absent"),
        (["compress", "--input", "new.tar", "--output", "o", "--corpus", "absent.rc"], 2, "absent.rc"),
        (["compress", "--input", "new.tar", "--output", "o", "--corpus", "old.rc"], 5, "--allow-unsigned"),
        (["compress", "--input", "new.tar", "--output", "o", "--corpus", "new.tar", "--allow-unsigned"], 3, "corpus"),
        (["decompress", "--input", "new.tar", "--output", "o"], 3, ".reducto"),
        (["inspect", "new.tar"], 3, ".reducto"),
    ],
)  # fmt: skip
def test_refusals_say_why(
    case: Path, command: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == code
    assert said in capsys.readouterr().err
    assert not Path("o").exists()


def test_the_missing_corpus_is_named(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("compress", "--input", "new.tar", *CORPUS, "--output", "new.reducto")
    assert run("decompress", "--input", "new.reducto", "--output", "o") == 6
    assert "--corpus" in capsys.readouterr().err
    assert run("inspect", "new.reducto", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["needs"]) == 1
