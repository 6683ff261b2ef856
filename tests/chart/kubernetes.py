"""JSON Schemas of Kubernetes and of the custom resources, as their projects release them.

They come through the Go module proxy, because module archives contain the API's description. They are made strict
here: a key that a schema does not list is refused, as `kubectl --validate=strict` does.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.process import find_tool

KUBERNETES = {"1.34": "v1.34.4", "1.35": "v1.35.4", "1.36": "v1.36.3"}
CUSTOM_RESOURCES = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/*.yaml",
    "sigs.k8s.io/gateway-api@v1.6.3": "config/crd/standard/*_httproutes.yaml",
}


def validate(document: dict[str, Any], minor: str) -> None:
    """Raises `jsonschema.ValidationError` unless a cluster of that minor version accepts the object."""
    group, _, version = document["apiVersion"].rpartition("/")
    kind = (group, version, document["kind"])
    known = _kubernetes_kinds(minor)
    if kind in known:
        jsonschema.Draft4Validator(
            {"$ref": f"#/definitions/{known[kind]}", "definitions": _definitions(minor)}
        ).validate(document)
    else:
        jsonschema.Draft4Validator(_custom_kinds()[kind]).validate(document)


class _Loader(yaml.CSafeLoader):
    """A YAML loader that reads a lone ``=`` as a string, for which YAML 1.1 has a type of its own."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


@cache
def _module(name: str) -> Path:
    go = find_tool("go")
    if go is None:
        pytest.skip("Go is needed to fetch schemas")
    done = subprocess.run([go, "mod", "download", "-json", name], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])


@cache
def _definitions(minor: str) -> dict[str, Any]:
    swagger = _module(f"k8s.io/kubernetes@{KUBERNETES[minor]}") / "api" / "openapi-spec" / "swagger.json"
    definitions = json.loads(swagger.read_text())["definitions"]
    return {name: _strict(schema) for name, schema in definitions.items()}


@cache
def _kubernetes_kinds(minor: str) -> dict[tuple[str, str, str], str]:
    return {
        (kind["group"], kind["version"], kind["kind"]): name
        for name, schema in _definitions(minor).items()
        for kind in schema.get("x-kubernetes-group-version-kind", [])
        if len(schema["x-kubernetes-group-version-kind"]) == 1
    }


@cache
def _custom_kinds() -> dict[tuple[str, str, str], Any]:
    kinds = {}
    for module, pattern in CUSTOM_RESOURCES.items():
        for file in _module(module).glob(pattern):
            for document in yaml.load_all(file.read_text(), _Loader):
                if document and document["kind"] == "CustomResourceDefinition":
                    spec = document["spec"]
                    for version in spec["versions"]:
                        schema = _strict(version["schema"]["openAPIV3Schema"])
                        schema["properties"]["metadata"] = {"type": "object"}
                        kinds[spec["group"], version["name"], spec["names"]["kind"]] = schema
    return kinds


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    out = {
        key: {name: _strict(inner) for name, inner in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
    }
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    return out
