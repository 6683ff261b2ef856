"""Renders the chart with the real helm program, for the tests of the chart."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.chart.generate import CHART
from tests.support.process import find_tool
from tests.support.requirements import require_tool

KUBERNETES_MINOR = "1.34"
VALUE_SETS = sorted((CHART / "ci").glob("*-values.yaml"))

Object = dict[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs helm to its end; skips the test on a machine without helm."""
    require_tool("helm")
    return subprocess.run([str(find_tool("helm")), *map(str, arguments)], capture_output=True, text=True, check=False)


def template(*flags: str | Path, chart: Path = CHART, version: str = KUBERNETES_MINOR) -> str:
    """The output of ``helm template``. If helm fails, the test fails with helm's message."""
    done = helm("template", "release", chart, "--namespace", "registry", "--kube-version", version, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(*flags: str | Path, **settings: Any) -> list[Object]:
    """The rendered objects, with ``--set`` for each of ``settings``, in whose names ``__`` stands for a dot."""
    sets = [f"--set={name.replace('__', '.')}={value}" for name, value in settings.items()]
    return [document for document in yaml.safe_load_all(template(*flags, *sets)) if document]


def refusal(*flags: str | Path, **settings: Any) -> str:
    """The message with which helm refuses to render."""
    sets = [f"--set={name.replace('__', '.')}={value}" for name, value in settings.items()]
    done = helm("template", "release", CHART, "--kube-version", KUBERNETES_MINOR, *flags, *sets)
    assert done.returncode != 0, done.stdout
    return done.stderr


def notes(folder: Path, *flags: str | Path) -> str:
    """The rendered NOTES.txt. Only ``helm install`` prints it, so it is rendered inside an object of a copied chart."""
    copy = folder / "chart"
    shutil.copytree(CHART, copy)
    text = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "_notes.tpl").write_text('{{ define "notes" }}' + text + "{{ end }}")
    (copy / "templates" / "notes.yaml").write_text(
        'kind: Notes\nmetadata: {name: notes}\ntext: |\n  {{- include "notes" . | nindent 2 }}\n'
    )
    rendered = yaml.safe_load_all(template(*flags, chart=copy))
    return str(pick([document for document in rendered if document], "Notes")["text"])


def pick(objects: list[Object], kind: str, name: str = "") -> Object:
    """The only object of that kind, and of that name if one is given. Fails if there are none or several."""
    found = [one for one in objects if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    assert len(found) == 1, [(one["kind"], one["metadata"]["name"]) for one in objects]
    return found[0]


def pod_specs(objects: list[Object]) -> list[Object]:
    """The pod specification of every object that runs pods."""
    specs = []
    for one in objects:
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if one["kind"] == "Pod":
            specs.append(spec)
        elif "template" in spec:
            specs.append(spec["template"]["spec"])
    return specs


def containers(spec: Object) -> list[Object]:
    """All containers of a pod, init containers first."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def sidecar_config(objects: list[Object]) -> str:
    """The rendered configuration of the sidecar."""
    maps = [one for one in objects if one["kind"] == "ConfigMap" and "sidecar.yaml" in one["data"]]
    assert len(maps) == 1
    return str(maps[0]["data"]["sidecar.yaml"])
