"""``reducto analyze``: a report of what reducing one input would save and what its bytes are replaced by."""

from __future__ import annotations

import html
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from reducto.cli import baselines
from reducto.cli.console import Progress, format_bytes
from reducto.cli.context import Context
from reducto.cli.corpus_options import add_corpus_options, open_corpora
from reducto.cli.inputs import INPUT_HELP, Input
from reducto.cli.reduce import LEVEL_HELP, encode, encode_options
from reducto.codec import Receipt
from reducto.gzip import open_container
from reducto.gzip.gzip_header import MAGIC
from reducto.gzip.identification import identify

_SNIFF_BYTES = 64


class Analyze:
    """Encodes the input, writes no file, and reports the sizes."""

    def configure(self, parser: ArgumentParser) -> None:
        parser.add_argument("--input", required=True, metavar="F", help=INPUT_HELP)
        parser.add_argument(
            "--report-format", choices=("text", "json", "html"), default="text", help="form of the report"
        )
        parser.add_argument("--level", type=int, choices=range(1, 20), metavar="1-19", help=LEVEL_HELP)
        add_corpus_options(parser)

    def run(self, arguments: Namespace, context: Context) -> int:
        source = Input(arguments.input)
        with (
            closing(source),
            open_corpora(arguments, context) as corpora,
            context.workers() as pool,
            tempfile.TemporaryDirectory(prefix="reducto-") as spool,
            context.console.progress("analyze", source.total_bytes) as progress,
        ):
            options = encode_options(context, arguments.level)
            encoder, reduced = encode(source, corpora, options, Path(spool), pool.submit, progress.advance)
            encoder.close()
            report = _report(source, reduced.receipt, options.minimum_score, pool, progress)
        _show(report, "json" if arguments.json else arguments.report_format, context)
        return 0


def _report(
    source: Input, receipt: Receipt, minimum_score: float, pool: ThreadPoolExecutor, progress: Progress
) -> dict[str, Any]:
    named = _identify(source, pool)
    framed = receipt.encoder != "identity"
    zstd = pool.submit(lambda: baselines.zstd(_plain(source)))
    gzip_bytes = receipt.wire_bytes if framed else baselines.gzip(_plain(source)).output_bytes
    output = receipt.output_bytes
    pays = receipt.score >= minimum_score
    return {
        "input": source.name,
        "input_bytes": receipt.wire_bytes,
        "plain_bytes": receipt.plain_bytes,
        "output_bytes": output,
        "gzip_bytes": gzip_bytes,
        "zstd_bytes": zstd.result().output_bytes,
        "ratio_to_input": receipt.wire_bytes / output,
        "ratio_to_gzip": gzip_bytes / output,
        "hit_rate": receipt.hit_rate,
        "copied_bytes": receipt.copied_bytes,
        "repeated_bytes": receipt.repeated_bytes,
        "delta_bytes": receipt.delta_bytes,
        "delta_stored_bytes": receipt.delta_stored_bytes,
        "literal_bytes": receipt.literal_bytes,
        "literal_stored_bytes": receipt.literal_stored_bytes,
        "encoder": receipt.encoder,
        "recipe_bytes": receipt.recipe_bytes,
        **named,
        "instruction_bytes": receipt.instruction_bytes,
        "differential_advantage_score": receipt.score,
        "decision": "reduce" if pays else "store",
        "reason": receipt.reason,
        "corpora": list(receipt.corpora),
        "seconds": receipt.seconds,
    }


def _identify(source: Input, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """The report's rows about the encoder that made a gzip input; no rows for any other input."""
    head = next(iter(source.pieces()), b"")
    if bytes(head[: len(MAGIC)]) != MAGIC:
        return {}
    found = identify((bytes(piece) for piece in source.pieces()), submit=pool.submit)
    return {
        "gzip_encoder": found.encoder,
        "gzip_level": found.level,
        "gzip_confidence": found.confidence,
        "gzip_mispredictions": found.mispredictions,
        "gzip_refused": f"{found.stored.reason}: {found.stored.detail}" if found.stored else None,
    }


def _plain(source: Input) -> Iterator[bytes]:
    """The plain (decompressed) bytes of ``source``, which the other compressors are measured with."""
    reader, out = None, []
    for piece in source.pieces():
        if reader is None:
            reader = open_container(bytes(piece[:_SNIFF_BYTES]))
        reader.feed(piece, lambda plain: out.append(bytes(plain)))
        yield from out
        out.clear()
    if reader is not None:
        reader.finish()


def _rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    plain = max(report["plain_bytes"], 1)

    def part(kind: str) -> str:
        return f"{format_bytes(report[kind])} ({report[kind] / plain:.1%} of the content)"

    return [
        ("input", f"{report['input']}: {format_bytes(report['input_bytes'])}, made by {report['encoder']}"),
        ("content", format_bytes(report["plain_bytes"])),
        ("found in corpora", part("copied_bytes")),
        ("repeated in the input", part("repeated_bytes")),
        (
            "similar to a corpus",
            f"{part('delta_bytes')}, stored in {format_bytes(report['delta_stored_bytes'])}",
        ),
        ("new", f"{part('literal_bytes')}, stored in {format_bytes(report['literal_stored_bytes'])}"),
        ("recipe", f"{format_bytes(report['recipe_bytes'])} to rebuild the compressed bytes exactly{_encoder(report)}"),
        ("gzip", format_bytes(report["gzip_bytes"])),
        ("zstd", format_bytes(report["zstd_bytes"])),
        ("reduced", f"{format_bytes(report['output_bytes'])}, {report['ratio_to_gzip']:.1f} times less than gzip"),
        ("score", f"{report['differential_advantage_score']:.2f}: {report['decision']}; {report['reason']}"),
        ("time", f"{report['seconds']:.2f} s"),
    ]


def _encoder(report: dict[str, Any]) -> str:
    """The text about a gzip input's encoder, or an empty text for any other input."""
    if report.get("gzip_encoder"):
        return f"; {report['gzip_encoder']}, {report['gzip_mispredictions']} mispredictions"
    return f"; not rebuilt: {report['gzip_refused']}" if report.get("gzip_refused") else ""


def _show(report: dict[str, Any], form: str, context: Context) -> None:
    if form == "html":
        context.console.result(report, render_html(report))
    else:
        context.console.as_json = form == "json"
        context.console.result(report, "\n".join(f"{name:22} {value}" for name, value in _rows(report)))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733 }}
h1 {{ font-size: 1.4rem }} table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #dde3ea; vertical-align: top }}
th {{ font-weight: 600; white-space: nowrap }}
.bar {{ display: grid; grid-template-columns: 6rem 1fr 7rem; gap: .6rem; align-items: center; margin: .3rem 0 }}
.bar b {{ display: block; height: 1rem; border-radius: .2rem; background: #8a99ab }}
.bar.ours b {{ background: #1f7a5c }}
</style>
<h1>{title}</h1>
{bars}
<table>{rows}</table>
</html>"""


def render_html(report: dict[str, Any]) -> str:
    """The report as one HTML page that loads nothing from elsewhere."""
    sizes = [(name, report[f"{name}_bytes"]) for name in ("input", "gzip", "zstd", "output")]
    most = max(size for _, size in sizes) or 1
    bars = "\n".join(
        f'<div class="bar{" ours" if name == "output" else ""}"><span>{"reduced" if name == "output" else name}</span>'
        f'<b style="width:{max(size / most * 100, 0.3):.2f}%"></b><span>{format_bytes(size)}</span></div>'
        for name, size in sizes
    )
    rows = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in _rows(report))
    return _PAGE.format(title=html.escape(f"Reducto: {report['input']}"), bars=bars, rows=rows)
