"""Each value changes the rendered objects as the chart documents it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, KUBERNETES_MINOR, Object, containers, helm, pick, pod_specs, render, sidecar_config

pytestmark = pytest.mark.integration
CI = CHART / "ci"


def value_set(name: str) -> list[Object]:
    return render("--values", CI / f"{name}-values.yaml")


def main_container(objects: list[Object]) -> Object:
    return next(one for spec in pod_specs(objects) for one in containers(spec) if one["name"] == "reducto")


def config(objects: list[Object]) -> Object:
    return yaml.safe_load(sidecar_config(objects))


def test_default_is_one_deployment_with_two_services() -> None:
    objects = render()
    assert sorted(one["kind"] for one in objects) == [
        "ConfigMap",
        "ConfigMap",
        "Deployment",
        "Pod",
        *["Service"] * 2,
        "ServiceAccount",
    ]
    main = main_container(objects)
    assert main["image"] == "reducto:0.1.0"
    assert main["args"] == ["serve"]
    assert {"name": "REDUCTO_CONFIG", "value": "/etc/reducto/config/sidecar.yaml"} in main["env"]
    assert {port["name"]: port["containerPort"] for port in main["ports"]} == {"registry": 5000, "control": 9090}


def test_probes_and_stop() -> None:
    objects = render(preStopSeconds=7, terminationGracePeriodSeconds=100)
    main = main_container(objects)
    paths = {kind: main[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health/startup", "liveness": "/health/live", "readiness": "/health/ready"}
    assert main["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert pod_specs(objects)[0]["terminationGracePeriodSeconds"] == 100
    assert config(objects)["limits"]["drain_timeout"] == "88s"


def test_user_configuration_overrides_what_the_chart_derives() -> None:
    objects = render(**{"config__listen__data_port": 8443, "config__cache__max_size": "1GiB", "spool__size": "10Gi"})
    assert config(objects)["cache"] == {"dir": "/var/lib/reducto/cache", "max_size": "1GiB"}
    assert config(objects)["spool"]["max_size"] == "9216MiB"
    assert main_container(objects)["ports"][0]["containerPort"] == 8443
    assert pick(objects, "Service", "release-reducto")["spec"]["ports"][0]["targetPort"] == "registry"


def test_a_changed_configuration_replaces_pods() -> None:
    sums = {
        pick(render(config__gate__min_blob_size=size), "Deployment")["spec"]["template"]["metadata"]["annotations"][
            "checksum/config"
        ]
        for size in ("1KiB", "2KiB")
    }
    assert len(sums) == 2


def test_a_digest_is_used_instead_of_the_tag() -> None:
    digest = "sha256:" + "ab" * 32
    assert main_container(render(image__digest=digest, image__tag="v9"))["image"] == f"reducto@{digest}"
    assert main_container(render(image__tag="v9"))["image"] == "reducto:v9"


def test_private_registry() -> None:
    objects = value_set("private-registry")
    assert config(objects)["upstream"] == {
        "url": "https://registry.internal:8443",
        "read_timeout": "5m",
        "max_connections": 256,
        "ca_file": "/etc/reducto/ca/ca.crt",
        "client_certificate_file": "/etc/reducto/clientTls/tls.crt",
        "client_key_file": "/etc/reducto/clientTls/tls.key",
        "credentials_file": "/etc/reducto/credentials/.dockerconfigjson",
    }
    assert main_container(objects)["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    spec = pod_specs(objects)[0]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    secrets = {volume["name"]: volume["secret"] for volume in spec["volumes"] if "secret" in volume}
    assert {name: secret["secretName"] for name, secret in secrets.items()} == {
        "tls": "reducto-tls",
        "ca": "internal-ca",
        "client-tls": "reducto-client",
        "credentials": "reducto-account",
    }
    assert {secret["defaultMode"] for secret in secrets.values()} == {0o440}


def test_bundled_registry_keeps_its_data_in_a_claim() -> None:
    objects = value_set("bundled-registry")
    stateful = pick(objects, "StatefulSet")["spec"]
    claims = {claim["metadata"]["name"]: claim["spec"] for claim in stateful["volumeClaimTemplates"]}
    assert claims.keys() == {"spool", "cache", "registry"}
    assert claims["registry"]["resources"]["requests"]["storage"] == "500Gi"
    assert claims["registry"]["storageClassName"] == "standard"
    assert "storageClassName" not in claims["cache"]
    assert config(objects)["upstream"]["url"] == "http://127.0.0.1:5001"
    registry = next(one for one in stateful["template"]["spec"]["containers"] if one["name"] == "registry")
    assert {"name": "REGISTRY_HTTP_ADDR", "value": "127.0.0.1:5001"} in registry["env"]
    volumes = {volume["name"] for volume in stateful["template"]["spec"]["volumes"]}
    assert volumes == {"config", "tmp", "corpora"}
    assert {mount["name"] for mount in registry["volumeMounts"]} == {"registry"}
    services = {one["metadata"]["name"] for one in objects if one["kind"] == "Service"}
    assert stateful["serviceName"] in services


def test_bundled_registry_on_object_storage() -> None:
    objects = value_set("bundled-registry-s3")
    assert pick(objects, "Deployment")["spec"]["replicas"] == 3
    index = next(one for one in main_container(objects)["env"] if one["name"] == "REDUCTO_DEDUPE_INDEX")
    assert index["valueFrom"]["secretKeyRef"] == {"name": "valkey", "key": "url"}


def test_high_availability() -> None:
    objects = value_set("high-availability")
    deployment = pick(objects, "Deployment")["spec"]
    assert "replicas" not in deployment
    labels = deployment["selector"]["matchLabels"]
    assert labels.items() <= deployment["template"]["metadata"]["labels"].items()
    spread = deployment["template"]["spec"]["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == labels
    assert pick(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    scaler = pick(objects, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)
    assert scaler["scaleTargetRef"]["name"] == "release-reducto"
    policy = pick(objects, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["podSelector"]["matchLabels"] == labels
    registry, control = policy["ingress"]
    assert registry == {
        "ports": [{"port": "registry"}],
        "from": [{"podSelector": {"matchLabels": labels}}, {"namespaceSelector": {"matchLabels": {"team": "builds"}}}],
    }
    assert control["from"][0] == {"podSelector": {}}
    assert {"port": 53, "protocol": "UDP"} in policy["egress"][0]["ports"]


def test_replicas_find_each_other_by_a_headless_service() -> None:
    for kind in ("Deployment", "StatefulSet"):
        objects = render(kind=kind, replicas=3)
        (name,) = config(objects)["replicas"]["peers"]
        service = pick(objects, "Service", name)["spec"]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True, (
            "a replica that drains still serves the upload sessions that it opened"
        )
        template = pick(objects, kind)["spec"]["template"]
        assert service["selector"].items() <= template["metadata"]["labels"].items()
    for kind in ("DaemonSet", "None"):
        assert "replicas" not in config(render(kind=kind))


def test_network_policy_is_open_for_clients_and_upstreams_by_default() -> None:
    policy = pick(render(networkPolicy__enabled="true"), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert "from" not in policy["ingress"][0]


def test_edge_serves_the_node() -> None:
    objects = value_set("edge")
    port = main_container(objects)["ports"][0]
    assert (port["hostIP"], port["hostPort"]) == ("127.0.0.1", 5000)
    hosts = tomllib.loads(next(one["data"]["hosts.toml"] for one in objects if "hosts.toml" in one.get("data", {})))
    assert hosts == {
        "server": "https://registry.example.com",
        "host": {"http://127.0.0.1:5000": {"capabilities": ["pull", "resolve"]}},
    }
    assert config(objects)["role"] == "edge"
    assert not any("hostPath" in volume for volume in pod_specs(objects)[0]["volumes"])


def test_edge_installs_hosts_toml() -> None:
    objects = value_set("edge-install-hosts")
    install = containers(pod_specs(objects)[0])[0]
    assert install["command"][-1] == "/host/registry.example.com:8443/hosts.toml"
    assert install["securityContext"]["runAsUser"] == 0
    hosts = next(one["data"]["hosts.toml"] for one in objects if "hosts.toml" in one.get("data", {}))
    assert list(tomllib.loads(hosts)["host"]) == ["https://127.0.0.1:30500"]


def test_trust() -> None:
    security = config(value_set("trust"))["security"]
    assert security["signing"] == {
        "key": "/etc/reducto/signing/signing.pem",
        "trusted_keys": ["/etc/reducto/trusted"],
        "required": True,
    }
    assert security["encryption"]["keys"] == [
        "/etc/reducto/encryption/kek-2026.key",
        "/etc/reducto/encryption/kek-2025.key",
    ]
    assert security["access"] == {
        "api_keys_file": "/etc/reducto/access/api-keys.json",
        "trusted_proxies": ["10.0.0.0/8"],
    }
    assert security["audit"] == {"stdout": True}


def test_monitoring() -> None:
    objects = value_set("monitoring")
    monitor = pick(objects, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    control = pick(objects, "Service", "release-reducto-control")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= control["metadata"]["labels"].items()
    data_service = pick(objects, "Service", "release-reducto")
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= data_service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == control["spec"]["ports"][0]["name"]
    rules = pick(objects, "PrometheusRule")["spec"]
    assert rules == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    dashboard = pick(objects, "ConfigMap", "release-reducto-dashboard")
    assert dashboard["data"]["reducto.json"].strip() == (CHART / "files" / "dashboard.json").read_text().strip()


def test_ingress_has_no_limits_on_bodies() -> None:
    ingress = pick(value_set("ingress"), "Ingress")
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"
    assert annotations["cert-manager.io/cluster-issuer"] == "letsencrypt"
    assert ingress["spec"]["tls"] == [{"hosts": ["registry.example.com"], "secretName": "registry-tls"}]
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "release-reducto", "port": {"name": "registry"}}


def test_http_route_has_no_timeout() -> None:
    rule = pick(value_set("gateway"), "HTTPRoute")["spec"]["rules"][0]
    assert rule["timeouts"]["request"] == "0s"
    assert rule["backendRefs"] == [{"name": "release-reducto", "port": 5000}]


def test_corpus_jobs() -> None:
    objects = value_set("corpora")
    build = pick(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    first, second = build["initContainers"][0], build["containers"][0]
    assert first["args"][:2] == ["corpus", "build"]
    assert first["args"].count("--image") == 2
    assert config(objects)["security"]["signing"]["key"] == "/etc/reducto/signing/corpus.pem"
    assert second["args"][:2] == ["corpus", "push"]
    assert second["args"][-1] == "oci://registry:5000/corpora/golden:v1"
    assert {"name": "TMPDIR", "value": "/work"} in second["env"]
    fetch = pick(objects, "Job", "release-reducto-corpus-fetch")
    assert fetch["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    fetches = containers(fetch["spec"]["template"]["spec"])
    assert [one["args"][-1] for one in fetches] == ["--allow-unsigned", "--allow-unsigned"]
    assert fetches[1]["args"][:4] == ["corpus", "fetch", "--corpus-id", "oci://registry:5000/corpora/java:v3"]
    volumes = [volume for spec in pod_specs(objects) for volume in spec["volumes"] if volume["name"] == "corpora"]
    assert len(volumes) == 3
    assert all(volume["persistentVolumeClaim"] == {"claimName": "reducto-corpora"} for volume in volumes)


def test_rehydrate_runs_before_uninstall_only_when_asked() -> None:
    job = pick(value_set("leaving"), "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    main = job["spec"]["template"]["spec"]["containers"][0]
    assert main["args"] == ["rehydrate", "team/app", "team/web"]
    assert not any(one["kind"] == "Job" for one in render())


def test_extra_settings_of_platform_teams() -> None:
    objects = value_set("everything-extra")
    spec = pod_specs(objects)[0]
    assert {one["name"] for one in containers(spec)} == {"wait", "reducto", "logs"}
    assert spec["nodeSelector"] == {"disk": "nvme"}
    assert spec["serviceAccountName"] == "builder"
    assert not any(one["kind"] == "ServiceAccount" for one in objects)
    assert {"name": "REDUCTO_LOGGING_LEVEL", "value": "debug"} in main_container(objects)["env"]
    assert {"name": "scratch", "mountPath": "/scratch"} in main_container(objects)["volumeMounts"]
    assert pick(objects, "ConfigMap", "release-more")["data"] == {"key": "value"}
    assert all(
        one["metadata"]["labels"]["team"] == "platform"
        for one in objects
        if one["metadata"]["name"].startswith("layers")
    )


def test_named_templates_serve_a_parent_chart(tmp_path: Path) -> None:
    """The README's snippet works in another chart that lists this one as a dependency."""
    snippet = (CHART / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    body = "".join(f"      {line}\n" for line in snippet.splitlines())
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "pod.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: other}\nspec:\n"
        "  selector: {matchLabels: {app: other}}\n  template:\n    metadata: {labels: {app: other}}\n    spec:\n" + body
    )
    (tmp_path / "Chart.yaml").write_text(
        "apiVersion: v2\nname: other\nversion: 1.0.0\n"
        f"dependencies: [{{name: reducto, version: 0.1.0, repository: 'file://{CHART}'}}]\n"
    )
    (tmp_path / "values.yaml").write_text("reducto: {kind: None}\n")
    assert helm("dependency", "update", tmp_path).returncode == 0
    done = helm("template", "release", tmp_path, "--kube-version", KUBERNETES_MINOR)
    assert done.returncode == 0, done.stderr
    objects = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert pick(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"] == ["serve"]
    mounts = {mount["name"] for mount in main_container(objects)["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod_specs(objects)[0]["volumes"]}


def test_beside_another_chart_makes_no_pods() -> None:
    assert {one["kind"] for one in value_set("beside-other-chart")} == {"ConfigMap", "PrometheusRule", "ServiceAccount"}
