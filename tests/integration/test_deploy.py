"""The files that deploy the service hang together."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
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


class TestCompose:
    """Everything that the composition names exists, and nothing secret is written into it."""

    compose = load(DEPLOY / "compose.yaml")
    services: dict[str, dict[str, Any]] = compose["services"]

    def test_it_fits_the_schema_of_the_specification(self) -> None:
        tool = Path(sys.executable).with_name("check-jsonschema")
        command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize("name", services)
    def test_every_image_is_pinned(self, name: str) -> None:
        image, _, tag = self.services[name]["image"].partition(":")
        assert image
        assert re.fullmatch(r"v?\d+(\.\d+)*(-alpine)?", tag)

    @pytest.mark.parametrize("name", services)
    def test_every_file_that_is_mounted_exists(self, name: str) -> None:
        for volume in self.services[name].get("volumes", []):
            source = volume.split(":")[0]
            assert source in self.compose["volumes"] or (DEPLOY / source).exists(), source

    @pytest.mark.parametrize("name", services)
    def test_nothing_is_reached_from_outside_the_machine(self, name: str) -> None:
        assert all(port.startswith("127.0.0.1:") for port in self.services[name].get("ports", []))

    @pytest.mark.parametrize("name", ["booking-monitor", "replica", "upgrade"])
    def test_every_variable_is_a_setting_and_secrets_are_read_from_files_that_it_has(self, name: str) -> None:
        settings = {setting for setting, _, _ in reference()}
        service = self.services[name]
        ours = {variable: value for variable, value in service["environment"].items() if "OTEL_" not in variable}
        for variable, value in ours.items():
            assert variable.removesuffix("_FILE") in settings
            if variable.endswith("_FILE"):
                assert Path(value).parent == Path("/run/secrets")
                assert Path(value).name in service["secrets"]

    def test_the_service_has_no_rights_and_writes_only_where_it_may(self) -> None:
        for name in ("booking-monitor", "replica"):
            service = self.services[name]
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            mounts = [entry.split(":")[1] for entry in service.get("volumes", [])]
            mounts += [entry.split(":")[0] for entry in service.get("tmpfs", [])]
            assert mounts == ["/var/lib/booking-monitor"]

    def test_prometheus_finds_its_rules_and_alertmanager_its_key_where_their_files_look_for_them(self) -> None:
        mounts = dict(volume.split(":")[:2] for volume in self.services["prometheus"]["volumes"])
        config = Path(mounts["./prometheus.yml"])
        (pattern,) = load(DEPLOY / "prometheus.yml")["rule_files"]
        assert (config.parent / pattern).parent.resolve() == Path(mounts["../rules/prometheus"])
        assert "--enable-feature=exemplar-storage" in self.services["prometheus"]["command"]
        receivers = load(ROOT / "rules" / "alertmanager" / "alertmanager.yml")["receivers"]
        wanted = {one["routing_key_file"] for each in receivers for one in each.get("pagerduty_configs", [])}
        assert {secret["target"] for secret in self.services["alertmanager"]["secrets"]} == wanted

    def test_every_server_that_a_provisioned_file_names_is_composed(self) -> None:
        known = set(self.services)
        sources = [load(path) for path in (ROOT / "dashboards" / "provisioning" / "datasources").glob("*.yaml")]
        urls = [source["url"] for content in sources for source in content["datasources"]]
        assert {re.sub(r"https?://([^:/]+).*", r"\1", url) for url in urls} <= known
        assert self.services["booking-monitor"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://tempo:4318"
        assert load(DEPLOY / "tempo.yaml")["server"]["http_listen_port"] == 3200
        targets = load(DEPLOY / "prometheus.yml")["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
        assert {target.split(":")[0] for target in targets} <= known

    def test_dashboards_are_mounted_where_their_provider_looks(self) -> None:
        (provider,) = load(ROOT / "dashboards" / "provisioning" / "dashboards" / "booking-monitor.yaml")["providers"]
        mounts = dict(volume.split(":")[:2] for volume in self.services["grafana"]["volumes"])
        assert mounts["../dashboards/json"] == provider["options"]["path"]

    def test_the_script_makes_every_secret_once_and_keeps_others_out(self, tmp_path: Path) -> None:
        script = tmp_path / "make-secrets.sh"
        script.write_text((DEPLOY / "make-secrets.sh").read_text(encoding="utf-8"), encoding="utf-8")

        def make(*arguments: str) -> int:
            return subprocess.run(["sh", str(script), *arguments], capture_output=True, check=False).returncode

        def made() -> dict[str, str]:
            return {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").glob("[a-z]*")}

        assert make() == make("too-short") == 2
        assert make("k" * 32) == 0
        first = made()
        assert set(first) == {Path(secret["file"]).name for secret in self.compose["secrets"].values()}
        assert first["pagerduty_routing_key"] == "k" * 32
        assert first["postgres_password"] in first["database_url"]
        assert len(first["api_tokens"]) == 64
        assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
        assert make("l" * 32) == 0
        assert made() == first
