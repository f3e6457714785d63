from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.objectives import FILE, OBJECTIVES_TEXT, RULES

from monitor.alerting.objectives_file import parse
from monitor.alerting.prometheus_rules import MANIFEST_FILE, RULES_FILE, WATCHDOG, outdated, render, write
from monitor.domain.vocabulary import AlertName

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = RULES / "prometheus"
OF_PROMETHEUS_2_42 = {"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(render(FILE)[RULES_FILE])["groups"] for rule in group["rules"]]


def test_the_committed_rules_are_what_the_objectives_say() -> None:
    assert outdated(FILE, GENERATED) == ()


def test_a_changed_objective_makes_the_rules_outdated(tmp_path: Path) -> None:
    write(FILE, tmp_path)
    assert outdated(FILE, tmp_path) == ()
    other = parse(OBJECTIVES_TEXT.replace("alpha: 0.0002", "alpha: 0.001").encode())
    assert outdated(other, tmp_path) == (tmp_path / RULES_FILE, tmp_path / MANIFEST_FILE)


def test_a_missing_file_is_outdated(tmp_path: Path) -> None:
    assert outdated(FILE, tmp_path) == (tmp_path / RULES_FILE, tmp_path / MANIFEST_FILE)


def test_prometheus_finds_no_manifest_where_it_looks_for_rules(tmp_path: Path) -> None:
    write(FILE, tmp_path)
    assert [path.name for path in tmp_path.glob("*.yaml")] == [RULES_FILE]


def test_the_manifest_holds_the_same_rules() -> None:
    texts = render(FILE)
    manifest = yaml.safe_load(texts[MANIFEST_FILE])
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert manifest["spec"]["groups"] == yaml.safe_load(texts[RULES_FILE])["groups"]


def test_every_alert_of_the_contract_has_a_rule_and_a_runbook() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts == {*AlertName, "BookingMonitorDown", WATCHDOG}
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"]["runbook_url"].endswith(f"/{rule['alert']}.md")
            assert (RULES / "runbooks" / f"{rule['alert']}.md").is_file()


def test_rules_use_only_what_prometheus_2_42_loads() -> None:
    for group in yaml.safe_load(render(FILE)[RULES_FILE])["groups"]:
        assert set(group) <= {"name", "interval", "limit", "rules"}
    for rule in rules():
        assert set(rule) <= OF_PROMETHEUS_2_42
        assert set(rule.get("labels", {})) <= {"severity", "traffic"}


@pytest.mark.parametrize(
    ("job", "expected"), [("booking-monitor", 'job="booking-monitor"'), ("prod/bookings", 'job="prod/bookings"')]
)
def test_every_metric_of_the_service_is_read_from_its_job_only(job: str, expected: str) -> None:
    text = render(parse(OBJECTIVES_TEXT.replace("job: booking-monitor", f"job: {job}").encode()))[RULES_FILE]
    for rule in (rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]):
        for name in ("booking_sli_events", "booking_sli_bad", "booking_ledger_judged_timestamp_seconds", "up"):
            assert rule["expr"].count(f"{name}{{") == rule["expr"].count(f"{name}{{{expected}")


def test_a_maintenance_window_is_part_of_the_rules_that_it_freezes() -> None:
    window = "{reason: move, starts: 2026-12-01T02:00:00Z, ends: 2026-12-01T03:00:00Z, alerts: [BookingOverdue]}"
    text = render(parse(OBJECTIVES_TEXT.replace("maintenance: []", f"maintenance: [{window}]").encode()))[RULES_FILE]
    frozen = [
        rule["alert"]
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "vector(time()) >= 1796090400.0 < 1796094000.0" in rule["expr"]
    ]
    assert frozen == ["BookingOverdue"]
