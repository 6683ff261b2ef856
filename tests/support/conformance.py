"""The OCI distribution-spec conformance suite against any registry, as a result for each of its tests."""

import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.support.process import CommandFailed, find_tool


def run_conformance(
    url: str, folder: Path, user: str = "", password: str = "", namespace: str = "conformance/first"
) -> dict[str, str]:
    """Test name -> ``passed``, ``failed`` or ``skipped``, all four categories, against the registry at ``url``.

    The suite's own report (report.html, junit.xml) stays in ``folder``.
    """
    program = find_tool("conformance")
    if program is None:
        raise FileNotFoundError("the conformance suite is not installed")
    folder.mkdir(parents=True, exist_ok=True)
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
    environment = {**os.environ, **settings}
    done = subprocess.run([str(program)], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    results = folder / "junit.xml"
    if not results.exists():
        raise CommandFailed(f"the conformance suite wrote no results:\n{(done.stdout + done.stderr)[-3000:]}")
    return {_name(case): _outcome(case) for case in ElementTree.parse(results).iter("testcase")}


def _name(case: ElementTree.Element) -> str:
    return case.get("name", "").strip()


def _outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"
