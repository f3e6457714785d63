"""The files that deploy the service hang together."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tools import find_tool

from monitor.settings import reference

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [content for content in map(load, MANIFESTS) if content["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


def test_promtool_accepts_the_prometheus_configuration() -> None:
    command = [find_tool("promtool"), "check", "config", str(DEPLOY / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_scrapes_the_service_under_the_name_that_the_rules_expect() -> None:
    (scrape,) = load(DEPLOY / "prometheus.yml")["scrape_configs"]
    assert scrape["job_name"] == "booking-monitor"
    monitor = manifest("ServiceMonitor")["spec"]
    assert manifest("Service")["metadata"]["labels"][monitor["jobLabel"]] == "booking-monitor"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_each_manifest_holds_the_one_object_that_its_file_is_named_after(path: Path) -> None:
    content = load(path)
    assert content["kind"].lower() == path.stem
    assert content["metadata"]["name"] == "booking-monitor"


def test_all_manifests_select_the_pods_of_the_deployment() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_one_replica_may_always_go() -> None:
    assert manifest("Deployment")["spec"]["replicas"] > manifest("PodDisruptionBudget")["spec"]["minAvailable"]


def test_every_variable_is_a_setting_and_none_is_written_down() -> None:
    settings = {name for name, _, _ in reference()}
    for variable in container()["env"]:
        assert variable["name"] in settings
        assert variable["valueFrom"]["secretKeyRef"]["name"] == "booking-monitor"


def test_kubernetes_sets_no_variables_that_look_like_settings() -> None:
    assert pod()["enableServiceLinks"] is False


def test_the_service_runs_without_rights_on_a_read_only_file_system() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_manifests_and_image_agree_on_user_port_and_folder() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    security = pod()["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in image
    (port,) = container()["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in image
    (mount,) = container()["volumeMounts"]
    assert f"VOLUME {mount['mountPath']}\n" in image
