"""A build keeps the right chunks, leaves the right ones out, and never leaves an unfinished file behind."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from corpus_builder.build import BuildOptions, BuildReport, build
from corpus_builder.catalogue import Catalogue
from corpus_builder.cutting import cut
from corpus_builder.part_writer import PartOptions
from corpus_builder.sources import PlainSource, Trust, collect
from corpus_builder.targets import Targets
from reducto.corpus.reader import Corpus
from reducto.directory_tar import directory_tar
from reducto.errors import Corrupt, ReductoError, Untrusted, UsageError
from reducto.kernel.chunking import ChunkParams, path_hash
from tests.corpus.samples import SIGNER, TRUST
from tests.corpus_builder.samples import noise, tar_of, write_layout, write_tree

CHUNKING = ChunkParams(1024)
UNSIGNED = Trust(allow_unsigned=True)


def sources_of(*paths: Path) -> list[PlainSource]:
    return [source for path in paths for source in collect(path, UNSIGNED)]


def build_corpus(
    output: Path,
    *paths: Path,
    catalogue: Path | None = None,
    max_bytes: int | None = None,
    split_bytes: int = 1 << 40,
    targets: Targets | None = None,
) -> BuildReport:
    options = BuildOptions(PartOptions(output, CHUNKING, split_bytes), max_bytes, targets)
    with Catalogue(catalogue or output.parent / f"{output.stem}.catalogue", CHUNKING) as opened:
        return build(sources_of(*paths), opened, options)


def chunks_of(*paths: Path) -> set[int]:
    """The fingerprints of all chunks of the sources at ``paths``."""
    return {c.fingerprint for source in sources_of(*paths) for piece in cut(source, CHUNKING) for c in piece.chunks}


def index_of(*corpora: Path) -> set[int]:
    found: set[int] = set()
    for path in corpora:
        with Corpus.open(path, allow_unsigned=True) as corpus:
            corpus.verify_all()
            found |= {fingerprint for fingerprint, _ in corpus.index}
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {f"lib/module{n}.py": b"# module\n" * 20 + noise(4000, n) for n in range(30)}
    return write_tree(tmp_path / "tree", files)


# -- the content of a corpus ----------------------------------------------------------------------------------------


def test_a_corpus_holds_every_chunk_of_its_input_once(tmp_path: Path, tree: Path) -> None:
    other = tmp_path / "other.tar.gz"
    twice = {f"app/copy{n}.py": b"# module\n" * 20 + noise(4000, n % 5) for n in range(10)}
    other.write_bytes(gzip.compress(tar_of(twice)))
    report = build_corpus(tmp_path / "c.rc", tree, other)
    wanted = chunks_of(tree, other)
    assert index_of(tmp_path / "c.rc") == wanted
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        assert len(corpus.index) == len(wanted) == report.chunks_kept
        assert corpus.plain_length == report.kept_bytes < report.input_bytes
        for fingerprint, offset in corpus.index:
            assert corpus.index.find(fingerprint) == offset


def test_members_are_found_by_path_with_digits_ignored(tmp_path: Path, tree: Path) -> None:
    build_corpus(tmp_path / "c.rc", tree)
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        offsets = corpus.paths.find(path_hash(b"./lib/module99.py"))
        assert len(offsets) == 8
        for offset in offsets:
            assert bytes(corpus.view(offset, 10)) == b"lib/module"


FORMS = [
    "tar",
    "tar.gz",
    "tar.zst",
    "two gzip members",
    "layout",
    "nested",
    "oci-archive",
    "docker save",
    "old docker save",
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_input_gives_the_same_corpus(tmp_path: Path, form: str) -> None:
    files = {f"etc/file{n}.conf": noise(3000, n) for n in range(10)}
    plain = tar_of(files)
    (tmp_path / "plain.tar").write_bytes(plain)
    build_corpus(tmp_path / "reference.rc", tmp_path / "plain.tar")
    given = tmp_path / "given"
    if form == "layout":
        write_layout(given, [[plain], [plain]])
    elif form == "oci-archive":
        given.write_bytes(b"".join(directory_tar(write_layout(tmp_path / "layout", [[plain], [plain]]))))
    elif form == "docker save":
        name = "blobs/sha256/" + "5" * 64
        given.write_bytes(tar_of({name: plain, "manifest.json": json.dumps([{"Layers": [name]}]).encode()}))
    elif form == "old docker save":
        name = "5" * 64 + "/layer.tar"
        saved = {name: plain, "manifest.json": json.dumps([{"Layers": [name]}, {"Layers": [name]}]).encode()}
        given.write_bytes(tar_of(saved))
    else:
        content = {
            "tar": lambda: plain,
            "tar.gz": lambda: gzip.compress(plain),
            "tar.zst": lambda: zstandard.ZstdCompressor().compress(plain),
            "two gzip members": lambda: gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]) + bytes(100),
            "nested": lambda: gzip.compress(plain),
        }[form]()
        given = given / "sub" / "archive.tgz" if form == "nested" else given / "archive.bin"
        given.parent.mkdir(parents=True)
        given.write_bytes(content)
        given = tmp_path / "given" if form == "nested" else given
    build_corpus(tmp_path / "c.rc", given)
    assert (tmp_path / "c.rc").read_bytes() == (tmp_path / "reference.rc").read_bytes()


def test_the_same_input_gives_the_same_bytes_whatever_its_times(tmp_path: Path, tree: Path) -> None:
    build_corpus(tmp_path / "one.rc", tree)
    for path in tree.rglob("*"):
        os.utime(path, (1, 1))
    build_corpus(tmp_path / "two.rc", tree)
    assert (tmp_path / "one.rc").read_bytes() == (tmp_path / "two.rc").read_bytes()


def test_a_dictionary_is_trained_from_chunks_that_have_something_in_common(tmp_path: Path) -> None:
    def log(seed: int, lines: int) -> bytes:
        rng = random.Random(seed)
        names = ("router", "scheduler", "authenticator", "garbage collector", "replication")
        form = '{"level": "info", "component": "%s", "request": "%08x", "message": "finished in %d ms"}\n'
        return "".join(
            form % (rng.choice(names), rng.getrandbits(32), rng.randrange(999)) for _ in range(lines)
        ).encode()

    files = {f"log/{n}.json": log(n, 60) for n in range(200)}
    build_corpus(tmp_path / "c.rc", write_tree(tmp_path / "logs", files))
    with Corpus.open(tmp_path / "c.rc", allow_unsigned=True) as corpus:
        dictionary = zstandard.ZstdCompressionDict(corpus.dictionary)
    sample = log(12345, 2)
    with_it = zstandard.ZstdCompressor(dict_data=dictionary).compress(sample)
    assert len(with_it) < len(zstandard.ZstdCompressor().compress(sample)) / 2


# -- extending -----------------------------------------------------------------------------------------------------


def test_extending_reads_only_what_is_new_and_adds_a_file(tmp_path: Path, tree: Path) -> None:
    catalogue = tmp_path / "catalogue"
    first = build_corpus(tmp_path / "c.rc", tree, catalogue=catalogue)
    before = (tmp_path / "c.rc").read_bytes()
    more = write_tree(tmp_path / "more", {f"lib/new{n}.py": noise(4000, 100 + n) for n in range(5)})
    report = build_corpus(tmp_path / "c.rc", tree, more, catalogue=catalogue)
    assert report.sources_known == 1
    assert 20_000 < report.input_bytes < first.input_bytes / 2
    assert [part["path"] for part in report.parts] == [str(tmp_path / "c-002.rc")]
    assert (tmp_path / "c.rc").read_bytes() == before
    assert index_of(tmp_path / "c.rc", tmp_path / "c-002.rc") == chunks_of(tree, more)
    assert not index_of(tmp_path / "c.rc") & index_of(tmp_path / "c-002.rc")


def test_building_again_with_nothing_new_writes_nothing(tmp_path: Path, tree: Path) -> None:
    build_corpus(tmp_path / "c.rc", tree)
    report = build_corpus(tmp_path / "c.rc", tree)
    assert (report.parts, report.kept_bytes, report.input_bytes, report.sources_known) == ([], 0, 0, 1)


def test_a_corpus_is_an_input_like_any_other(tmp_path: Path, tree: Path) -> None:
    """Merging and rewriting need neither the catalogue nor the original inputs."""
    build_corpus(tmp_path / "one.rc", tree)
    more = write_tree(tmp_path / "more", {f"lib/new{n}.py": noise(4000, 100 + n) for n in range(5)})
    build_corpus(tmp_path / "both.rc", tmp_path / "one.rc", more)
    assert index_of(tmp_path / "both.rc") >= index_of(tmp_path / "one.rc")
    assert index_of(tmp_path / "both.rc") >= chunks_of(more)


def test_a_catalogue_that_lost_a_file_or_has_other_chunks_is_refused(tmp_path: Path, tree: Path) -> None:
    build_corpus(tmp_path / "c.rc", tree, catalogue=tmp_path / "catalogue")
    with pytest.raises(UsageError, match="begun with chunking"):
        Catalogue(tmp_path / "catalogue", ChunkParams(2048))
    (tmp_path / "c.rc").unlink()
    with pytest.raises(UsageError, match="is gone"):
        Catalogue(tmp_path / "catalogue", CHUNKING)


# -- ranking -------------------------------------------------------------------------------------------------------


def test_a_size_limit_keeps_what_several_images_share(tmp_path: Path) -> None:
    shared = {f"common/{n}": noise(8000, n) for n in range(10)}
    trees = [
        write_tree(tmp_path / f"image{k}", shared | {f"own/{n}": noise(8000, 1000 * (k + 1) + n) for n in range(30)})
        for k in range(3)
    ]
    # The limit suffices for the shared 80 kB and 30 kB more, after 256 KiB set aside for header and dictionary.
    limit = (256 << 10) + 110_000
    report = build_corpus(tmp_path / "c.rc", *trees, max_bytes=limit)
    assert (tmp_path / "c.rc").stat().st_size <= limit
    assert report.left_out_bytes > 500_000
    common = chunks_of(write_tree(tmp_path / "common-only", shared))
    kept = index_of(tmp_path / "c.rc")
    # At most two chunks may be missing: those that hold the last file's padding and the end of the archive.
    assert len(common & kept) >= len(common) - 2
    assert kept - common


def test_layers_that_more_images_name_are_worth_more(tmp_path: Path) -> None:
    base, one, two = (tar_of({f"{name}/{n}": noise(8000, seed + n) for n in range(20)})
                      for name, seed in (("base", 0), ("one", 100), ("two", 200)))  # fmt: skip
    layout = write_layout(tmp_path / "layout", [[base, one], [base, two]])
    build_corpus(tmp_path / "c.rc", layout, max_bytes=(256 << 10) + 215_000)
    (tmp_path / "base.tar").write_bytes(base)
    assert chunks_of(tmp_path / "base.tar") <= index_of(tmp_path / "c.rc")


def test_optimizing_keeps_what_the_target_would_use(tmp_path: Path) -> None:
    used = {f"lib/used{n}.so": noise(20_000, n) for n in range(5)}
    unused = {f"lib/never{chr(97 + n)}.so": noise(20_000, 50 + n) for n in range(5)}
    tree = write_tree(tmp_path / "tree", used | unused)
    target = write_tree(tmp_path / "target", {name: data[:15_000] + b"patched" for name, data in used.items()})
    report = build_corpus(tmp_path / "c.rc", tree, targets=Targets(sources_of(target), CHUNKING))
    kept = index_of(tmp_path / "c.rc")
    assert chunks_of(write_tree(tmp_path / "u", used)) & kept
    assert report.kept_bytes < 120_000
    assert report.optimized is not None
    assert report.optimized["hit_rate"] > 0.7
    assert report.optimized["dropped_bytes"] > 90_000


def test_a_corpus_too_large_for_one_file_is_split(tmp_path: Path, tree: Path) -> None:
    report = build_corpus(tmp_path / "c.rc", tree, split_bytes=40_000)
    paths = [Path(part["path"]) for part in report.parts]
    assert [p.name for p in paths] == ["c.rc", *(f"c-{n:03}.rc" for n in range(2, len(paths) + 1))]
    assert len(paths) > 2
    assert index_of(*paths) == chunks_of(tree)
    for path in paths:
        with Corpus.open(path, allow_unsigned=True) as corpus:
            assert corpus.plain_length <= 40_000


# -- failure -------------------------------------------------------------------------------------------------------


def left_over(directory: Path, *known: str) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name not in known)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-20], lambda data: data[:300] + b"!" + data[301:], lambda data: data[:1000]]
)
def test_a_damaged_input_stops_the_build_and_leaves_no_corpus(tmp_path: Path, damage: object) -> None:
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(damage(gzip.compress(tar_of({"a": noise(50_000)}))))  # type: ignore[operator]
    with pytest.raises(Corrupt, match=r"bad\.tar\.gz"):
        build_corpus(tmp_path / "c.rc", bad)
    assert left_over(tmp_path, "bad.tar.gz") == ["c.catalogue"]


@pytest.mark.parametrize(
    "saved",
    [
        {"manifest.json": b"[{"},
        {"manifest.json": b"{}"},
        {"manifest.json": b'[{"Layers": ["../../etc/passwd"]}]'},
        {"manifest.json": b'[{"Layers": ["absent.tar"]}]'},
        {"oci-layout": b"{}", "index.json": b"[]"},
        {"oci-layout": b"{}", "index.json": b'{"manifests": [{"digest": "sha256:' + b"0" * 64 + b'"}]}'},
        {"oci-layout": b"{}", "index.json": b'{"manifests": [{"digest": "sha256:../x"}]}'},
    ],
)
def test_a_malformed_image_archive_is_refused(tmp_path: Path, saved: dict[str, bytes]) -> None:
    (tmp_path / "image.tar").write_bytes(tar_of(saved))
    with pytest.raises(Corrupt):
        list(collect(tmp_path / "image.tar", UNSIGNED))


def test_a_layer_with_another_digest_is_refused(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", [[tar_of({"a": noise(50_000)})]])
    largest = max((layout / "blobs" / "sha256").iterdir(), key=lambda p: p.stat().st_size)
    largest.write_bytes(gzip.compress(tar_of({"a": b"forged"})))
    with pytest.raises(Corrupt, match="another digest"):
        build_corpus(tmp_path / "c.rc", layout)


def test_an_unsigned_corpus_is_refused_as_input_unless_allowed(tmp_path: Path, tree: Path) -> None:
    build_corpus(tmp_path / "c.rc", tree)
    with pytest.raises(Untrusted):
        list(collect(tmp_path / "c.rc", Trust(TRUST)))


def test_inputs_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        list(collect(tmp_path / "absent", UNSIGNED))
    with pytest.raises(UsageError, match="nothing to build"):
        build_corpus(tmp_path / "c.rc")


_KILLED = """
import os, signal, sys
from pathlib import Path
from corpus_builder import build as module, catalogue, part_writer
from tests.corpus_builder.test_build import build_corpus
calls = 0
def counted(original, deadly):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    return call
deadly = int(sys.argv[1])
for name in ("note", "put", "register", "begin", "counted", "done", "new_part"):
    setattr(catalogue.Catalogue, name, counted(getattr(catalogue.Catalogue, name), deadly))
out = Path(sys.argv[2])
build_corpus(out / "c.rc", *map(Path, sys.argv[3:]), split_bytes=60_000)
"""


@pytest.mark.parametrize("deadly", range(1, 15))
def test_a_killed_build_leaves_complete_files_and_can_be_continued(tmp_path: Path, tree: Path, deadly: int) -> None:
    more = write_tree(tmp_path / "more", {f"lib/new{n}.py": noise(4000, 100 + n) for n in range(5)})
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", _KILLED, str(deadly), str(out), str(tree), str(more)]
    ended = subprocess.run(command, check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    assert all(name.endswith(".rc") for name in left_over(out, "c.catalogue"))
    for path in out.glob("*.rc"):
        with Corpus.open(path, allow_unsigned=True) as corpus:
            corpus.verify_all()
    build_corpus(out / "c.rc", tree, more, split_bytes=60_000)
    assert index_of(*out.glob("*.rc")) == chunks_of(tree, more)
    with Catalogue(out / "c.catalogue", CHUNKING) as catalogue:
        assert max(entry.places for _, entry in catalogue.all_entries()) <= 2


def test_a_source_that_changes_while_it_is_read_stops_the_build(tmp_path: Path, tree: Path) -> None:
    sources = sources_of(tree)

    def change(phase: str, _: int) -> None:
        if phase == "counting":
            (tree / "lib" / "module3.py").write_bytes(noise(9000, 999))

    options = BuildOptions(PartOptions(tmp_path / "c.rc", CHUNKING))
    with (
        Catalogue(tmp_path / "catalogue", CHUNKING) as catalogue,
        pytest.raises(ReductoError, match="changed while"),
    ):
        build(sources, catalogue, options, change)
    assert not (tmp_path / "c.rc").exists()


def test_corpora_are_signed_when_there_is_a_key(tmp_path: Path, tree: Path) -> None:
    options = BuildOptions(PartOptions(tmp_path / "c.rc", CHUNKING, signer=SIGNER, name="golden-v1"))
    with Catalogue(tmp_path / "catalogue", CHUNKING) as catalogue:
        build(sources_of(tree), catalogue, options)
    with Corpus.open(tmp_path / "c.rc", trust=TRUST) as corpus:
        assert corpus.info.name == "golden-v1"
