"""Runs the conformance suites of the OCI distribution specification against a registry, with one result per test.

There are two suites: the one released with version 1.1 of the specification, and the one of its main branch, which has
many more tests.
"""

import os
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.support.process import CommandFailed, find_tool

#: Results from the worst to the best. "disabled" is a test that the suite does not run against this registry.
RANKS = {
    "error": 0,
    "fail": 0,
    "failed": 0,
    "failure": 0,
    "skip": 1,
    "skipped": 1,
    "disabled": 1,
    "pass": 2,
    "passed": 2,
}


def run_conformance(
    url: str, folder: Path, user: str = "", password: str = "", namespace: str = "conformance/first"
) -> dict[str, str]:
    """Runs the suite of version 1.1, all four categories; test name -> ``passed``, ``failed`` or ``skipped``.

    The suite's own report (report.html, junit.xml) stays in ``folder``.
    """
    settings = {
        "OCI_ROOT_URL": url,
        "OCI_NAMESPACE": namespace,
        "OCI_CROSSMOUNT_NAMESPACE": "conformance/second",
        "OCI_USERNAME": user,
        "OCI_PASSWORD": password,
        "OCI_TEST_PULL": "1",
        "OCI_TEST_PUSH": "1",
        "OCI_TEST_CONTENT_DISCOVERY": "1",
        "OCI_TEST_CONTENT_MANAGEMENT": "1",
        "OCI_DEBUG": "0",
        "OCI_REPORT_DIR": str(folder),
    }
    return _cases(_run("conformance", folder, settings, folder / "junit.xml"))


def run_conformance_next(url: str, folder: Path) -> dict[str, str]:
    """Runs the main branch's suite. The result also holds its summary by API and kind of content (``apis/Blob get``).

    A name that occurs several times gets its worst result. results.yaml and junit.xml stay in ``folder``/results.
    """
    results = folder / "results"
    settings = {
        "OCI_VERSION": "1.1",
        "OCI_REGISTRY": url.removeprefix("http://"),
        "OCI_TLS": "disabled",
        "OCI_RESULTS_DIR": str(results),
    }
    _run("conformance-next", folder, settings, results / "results.yaml")
    summary = yaml.safe_load((results / "results.yaml").read_text())
    outcomes = _cases(results / "junit.xml")
    for part in ("apis", "data"):
        outcomes |= {f"{part}/{name}": outcome.lower() for name, outcome in summary[part].items()}
    return outcomes


def worse(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The tests of both runs whose result became worse.

    A test that only one run has is left out, because a suite runs some tests only after others passed.
    """
    both = before.keys() & after.keys()
    return {name: (before[name], after[name]) for name in both if RANKS[after[name]] < RANKS[before[name]]}


def _run(name: str, folder: Path, settings: Mapping[str, str], results: Path) -> Path:
    program = find_tool(name)
    if program is None:
        raise FileNotFoundError("the conformance suite is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **settings}
    done = subprocess.run([str(program)], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    if not results.exists():
        raise CommandFailed(f"the conformance suite wrote no results:\n{(done.stdout + done.stderr)[-3000:]}")
    return results


def _cases(results: Path) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        name, outcome = case.get("name", "").strip(), _outcome(case)
        outcomes[name] = min(outcome, outcomes.get(name, outcome), key=RANKS.__getitem__)
    return outcomes


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "failure":
        return "failed"
    skipped = case.find("skipped") is not None or case.get("status") in ("skipped", "disabled")
    return "skipped" if skipped else "passed"
