from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from support.objectives import FILE, OBJECTIVES_TEXT, RULES
from support.promtool import promtool

from monitor.alerting.objectives_file import parse
from monitor.alerting.prometheus_rules import MANIFEST_FILE, RULES_FILE, WATCHDOG, render, write
from monitor.domain.vocabulary import AlertName

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = RULES / "prometheus"
TESTS = sorted((GENERATED / "tests").glob("*.yaml"))
ALERTS = [*AlertName, "BookingMonitorDown", WATCHDOG]

FAULTS = {
    "the evidence is not asked for": ("critical", r">= 8\.517\d*", ">= 1"),
    "twice the evidence is asked for": ("critical", r">= 8\.517\d*", ">= 17"),
    "the companion is not asked for": ("critical", r"and ignoring \(window\) [^\n]* > 0", ""),
    "traffic is pooled": ("critical", r"max by \(sli, traffic\) \(booking_sli", "max by (sli) (booking_sli"),
    "one failure is enough": ("warning", r">= 2\n", ">= 1\n"),
    "the warning is not muted": ("warning", r"unless on \(sli, traffic\) ALERTS\{[^}]*\}", ""),
    "stale replicas are heard": ("freezing", r" and on \(job, instance\) \(time\(\) - [^ ]* <= 60\)", ""),
    "nothing is held on stale truth": ("freezing", r"\(max[^\n]*ALERTS[^\n]*unless on \(\) [^\n]*", "(vector(1) > 2)"),
    "replicas are added up": ("freezing", r"max by \(sli, traffic, window\)", "sum by (sli, traffic, window)"),
    "nothing is kept firing": ("freezing", r"\n *keep_firing_for: .*", ""),
    "nothing has to last": ("monitor", r"\n *for: .*", ""),
}
"""Faults in the rules: the tests that must notice it, a pattern, and what takes its place everywhere."""


def test_prometheus_accepts_the_committed_rules_without_a_complaint() -> None:
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", GENERATED / RULES_FILE)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "rules found" in said.stdout


def test_prometheus_accepts_the_groups_of_the_manifest(tmp_path: Path) -> None:
    manifest = yaml.safe_load((GENERATED / MANIFEST_FILE).read_text(encoding="utf-8"))
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(manifest["spec"]), encoding="utf-8")
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml")
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_alerts_do_what_their_tests_say(path: Path) -> None:
    said = promtool("test", "rules", path)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_rules_does_not_pass_their_tests(fault: str, tmp_path: Path) -> None:
    noticed_by, pattern, instead = FAULTS[fault]
    broken, changes = re.subn(pattern, instead, render(FILE)[RULES_FILE])
    assert changes > 0
    (tmp_path / RULES_FILE).write_text(broken, encoding="utf-8")
    said = promtool("check", "rules", tmp_path / RULES_FILE)
    assert said.returncode == 0, said.stderr
    copy = tmp_path / "tests" / f"{noticed_by}.yaml"
    copy.parent.mkdir()
    copy.write_bytes((GENERATED / "tests" / copy.name).read_bytes())
    said = promtool("test", "rules", copy)
    assert said.returncode == 1
    assert "FAILED" in said.stdout + said.stderr


@pytest.mark.parametrize("alertname", ALERTS)
def test_every_alert_is_seen_to_fire_and_seen_to_be_silent(alertname: str) -> None:
    fires, silent = 0, 0
    for path in TESTS:
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for look in case.get("promql_expr_test", []):
                if f'"{alertname}"' in look["expr"]:
                    fires += any("firing" in sample["labels"] for sample in look["exp_samples"])
                    silent += not look["exp_samples"]
    assert fires > 0
    assert silent >= fires / 2 or alertname == WATCHDOG


def test_there_are_as_many_cases_in_which_an_alert_must_be_silent_as_in_which_it_fires() -> None:
    fires, silent = 0, 0
    for path in TESTS:
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            seen = [sample["labels"] for look in case["promql_expr_test"] for sample in look["exp_samples"]]
            ever_fires = any("firing" in labels for labels in seen)
            fires, silent = fires + ever_fires, silent + (not ever_fires)
    assert silent >= fires > 0


def test_the_rules_of_other_objectives_load_too(tmp_path: Path) -> None:
    window = "{reason: move, starts: 2026-12-01T02:00:00Z, ends: 2026-12-01T03:00:00Z}"
    text = (
        OBJECTIVES_TEXT.replace("maintenance: []", f"maintenance: [{window}, {window}]")
        .replace("burn_rate: 1", "burn_rate: 2.5")
        .replace("objective: 0.98", "objective: 0.999")
        .replace("job: booking-monitor", "job: prod/booking.monitor:8080")
    )
    rules, _manifest = write(parse(text.encode()), tmp_path)
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", rules)
    assert said.returncode == 0, said.stdout + said.stderr
