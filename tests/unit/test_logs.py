"""Lines of the log: one JSON object each for machines, one readable line each for people."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from sidecar.runtime import logs

RECEIPT = {"format": 1, "stages": [["gzip", 0.25], ['it\'s "new"', None]]}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("reducto.sidecar")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def broken() -> ValueError:
    try:
        raise ValueError("not JSON")
    except ValueError as error:
        error.add_note("repository team/app")
        return error


def test_a_line_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with logs.bound(request_id="r-1"):
        logs.event("layer", digest="sha256:ab", receipt=RECEIPT, seconds=0.25)
    logs.event("layer-again")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert list(first)[:3] == ["time", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    fields = {"digest": "sha256:ab", "receipt": RECEIPT, "seconds": 0.25, "request_id": "r-1"}
    assert first == {"level": "info", "event": "layer", **fields}
    assert "request_id" not in second


def test_a_line_for_people_has_its_values_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    with logs.bound(request_id="r-1"):
        logs.event("layer", digest="sha256:ab", receipt=RECEIPT, path="/v2/a\n12:00:00 info    forged", detail="")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d info    layer digest=sha256:ab receipt=\{", line)
    found, end = json.JSONDecoder().raw_decode(line, line.index("receipt=") + len("receipt="))
    assert found == RECEIPT
    assert line[end:] == ' path="/v2/a\\n12:00:00 info    forged" detail="" request_id=r-1'


@pytest.mark.parametrize("form", ["json", "text"])
def test_trouble_has_its_trace(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", form)
    logs.trouble("listing-broken", broken(), tries=2)
    shown = capsys.readouterr().err
    if form == "json":
        line: dict[str, Any] = json.loads(shown)
        assert (line["level"], line["tries"], line["error"]) == (
            "error",
            2,
            "ValueError: not JSON; repository team/app",
        )
        shown = line["trace"]
    else:
        first, shown = shown.split("\n", 1)
        assert first.endswith('error   listing-broken tries=2 error="ValueError: not JSON; repository team/app"')
    assert shown.startswith("Traceback (most recent call last):")
    assert 'raise ValueError("not JSON")' in shown


def test_other_libraries_log_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")
    with logs.bound(request_id="r-2"):
        logging.getLogger("asyncio").error("Task %s failed", "x", exc_info=broken())
        logging.getLogger("aiohttp.client").info("chatter")
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["level"], line["event"], line["request_id"]) == ("error", "Task x failed", "r-2")
    assert line["trace"].startswith("Traceback")


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    logs.event("chatter")
    logs.event("warned", logging.WARNING)
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["warned"]


def test_what_a_stranger_sends_is_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    error = BadHttpMessage("secret bytes of the request")
    logs.protocol_logger().error("Error handling request from %s", "203.0.113.9", exc_info=error)
    logs.protocol_logger().error("Unhandled exception", exc_info=broken())
    malformed, unhandled = map(json.loads, capsys.readouterr().err.splitlines())
    del malformed["time"]
    assert malformed == {"level": "info", "event": "malformed-request"}
    assert unhandled["trace"].startswith("Traceback")
