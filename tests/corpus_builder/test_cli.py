"""``reducto corpus build`` and ``corpus analyze`` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reducto.cli import main
from reducto.corpus.reader import Corpus
from reducto.trust.key_files import generate_key
from tests.corpus_builder.samples import noise, tar_of, write_layout, write_tree


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "REDUCTO_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    exit_code = main([*map(str, words), "--json"])
    shown = capsys.readouterr()
    assert exit_code == 0, shown.err
    return dict(json.loads(shown.out))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", {f"lib/part{n}.so": noise(30_000, n) for n in range(20)})


def test_a_directory_becomes_a_signed_corpus(tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = generate_key(tmp_path / "key.pem")
    out = tmp_path / "corpus.rc"
    report = run(capsys, "corpus", "build", "--input", tree, "--output", out, "--sign", keys.private)
    assert report["parts"] == [{"path": str(out), "id": report["parts"][0]["id"], "file_bytes": out.stat().st_size}]
    assert report["kept_bytes"] == report["distinct_bytes"] > 600_000
    verified = run(capsys, "corpus", "verify", "--corpus", out, "--trust", keys.public)
    assert verified["verified"][0]["signature_checked"]
    assert main(["corpus", "verify", "--corpus", str(out)]) == 5
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".corpus", "corpus"))) == ["corpus.rc"]


def test_a_build_with_size_limit_name_and_target(
    tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = write_tree(tmp_path / "target", {f"lib/part{chr(97 + n)}.so": noise(30_000, n) for n in range(5)})
    base = ["corpus", "build", "--input", tree, "--name", "golden-v1", "--chunk-size", "4KiB"]
    limited = run(capsys, *base, "--output", tmp_path / "limited.rc", "--max-size", "500KiB")
    assert (tmp_path / "limited.rc").stat().st_size <= 500 << 10
    assert limited["left_out_bytes"] > 300_000
    optimized = run(capsys, *base, "--output", tmp_path / "best.rc", "--optimize", "--target", target)
    assert optimized["kept_bytes"] < 200_000
    assert optimized["optimized"]["hit_rate"] > 0.9
    with Corpus.open(tmp_path / "best.rc", allow_unsigned=True) as corpus:
        assert (corpus.info.name, corpus.chunking.average_bytes) == ("golden-v1", 4096)


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["--input", "absent"], 2, "does not exist"),
        ([], 2, "nothing to build"),
        (["--input", ".", "--chunk-size", "3000"], 2, "chunk size 3000"),
        (["--input", ".", "--chunk-size", "many"], 2, "many"),
        (["--input", "tests/corpus", "--target", "."], 2, "--target is for --optimize"),
        (["--image", "Not A Reference"], 2, "not an image reference"),
        (["--input", "tests/corpus", "--sign", "absent.pem"], 2, "absent.pem"),
    ],
)
def test_impossible_builds_are_refused(
    tmp_path: Path, words: list[str], exit_code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert main(["corpus", "build", "--output", str(out / "c.rc"), *words]) == exit_code
    assert said in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_analysis_says_where_every_byte_would_come_from(
    tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "corpus", "build", "--input", tree, "--output", tmp_path / "c.rc")
    same = {f"lib/part{n}.so": noise(30_000, n) for n in range(10)}
    similar = {"lib/part77.so": noise(50_000, 700)}
    new = {"bin/other": noise(40_000, 800), "bin/again": noise(40_000, 800)}
    (tmp_path / "test.tar").write_bytes(tar_of(same | similar | new))
    document = run(
        capsys, "corpus", "analyze", "--corpus", tmp_path / "c.rc", "--allow-unsigned",
        "--test-data", tmp_path / "test.tar", "--measure",
    )  # fmt: skip
    parts = [document[f"{kind}_bytes"] for kind in ("hit", "repeat", "twin", "new")]
    assert sum(parts) == document["plain_bytes"]
    for measured, expected in zip(parts, (300_000, 40_000, 50_000, 40_000), strict=True):
        # The tolerance is for a member's last chunk, which may hold padding that differs.
        assert expected * 0.8 < measured < expected * 1.1 + 16_000
    assert 85_000 < document["reduced_bytes"] < 110_000
    assert 0.4 < document["corpora"][0]["use_rate"] < 0.6
    assert document["corpora"][0]["hit_bytes"] == document["hit_bytes"]


def test_analysis_as_text_and_of_a_layout(tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "corpus", "build", "--input", tree, "--output", tmp_path / "c.rc")
    layer = tar_of({f"lib/part{n}.so": noise(30_000, n) for n in range(10)})
    layout = write_layout(tmp_path / "layout", [[layer], [layer, tar_of({"x": noise(10_000, 5000)})]])
    words = ["corpus", "analyze", "--corpus", str(tmp_path), "--test-data", str(layout), "--allow-unsigned"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "found in the corpora" in shown
    assert f"{tmp_path / 'c.rc'}: 4" in shown or f"{tmp_path / 'c.rc'}: 5" in shown


@pytest.mark.parametrize(("how", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path, tree: Path, how: int, exit_code: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    words = ["corpus", "build", "--output", str(out / "c.rc"), "--input", str(tree)]
    program = (
        "import signal, sys, time, corpus_builder.build as b, reducto.cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # because a shell's background jobs ignore SIGINT
        # The sleep is cut into 0.1 s, because a signal that arrives just before a sleep is handled after it.
        "b.cut = lambda *_: (print('reading', flush=True), [time.sleep(0.1) for _ in range(600)])\n"
        "sys.exit(reducto.cli.main(sys.argv[1:]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE) as build:
        assert build.stdout is not None
        assert build.stdout.readline() == b"reading\n"
        build.send_signal(how)
        assert build.wait(timeout=60) == exit_code
    left = [path.name for path in out.iterdir()]
    if how == signal.SIGKILL:
        assert [name[:14] for name in left] == [".corpus-build-"]
        os.utime(out / left[0], (0, 0))
        other = tmp_path / "other.bin"
        other.write_bytes(noise(5000))
        assert main(["corpus", "build", "--input", str(other), "--output", str(out / "c.rc")]) == 0
        left = [path.name for path in out.iterdir() if path.name != "c.rc"]
    assert left == []
