"""The objectives as rule files for Prometheus, and as a PrometheusRule for Kubernetes.

Within what Prometheus 2.42 loads and 3.x keeps: no `query_offset`, no group `labels`, no UTF-8 names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from monitor.alerting import rule_summaries
from monitor.alerting.objectives_file import MONITOR_DOWN
from monitor.alerting.promql import Expressions
from monitor.domain.alert_lifecycle import Timing
from monitor.domain.objectives import RATE_ALERTS
from monitor.domain.times import SECOND
from monitor.domain.vocabulary import AlertName, Severity, Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.alerting.objectives_file import ObjectivesFile

RULES_FILE = "booking-monitor.yaml"
MANIFEST_FILE = "kubernetes/prometheus-rule.yaml"
"""In a folder of its own: Prometheus would refuse it where it loads `*.yaml`."""

WATCHDOG = "Watchdog"
"""Always firing: whoever no longer hears it knows that the way from Prometheus to a person is broken."""

_HEADER = (
    "# Written by `booking-monitor rules build` from objectives.yaml: edit that, the next build overwrites this.\n"
)
_DASHBOARD = "{{ with $externalLabels.grafana_url }}{{ . }}/d/booking-pipeline{{ end }}"
_STATUS_PAGE = "{{ with $externalLabels.booking_monitor_url }}{{ . }}/{{ end }}"


def render(file: ObjectivesFile) -> dict[str, str]:
    """Write the content of each generated file, by its path below `rules/prometheus`."""
    groups = _groups(file)
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "booking-monitor", "labels": {"app.kubernetes.io/name": "booking-monitor"}},
        "spec": {"groups": groups},
    }
    return {RULES_FILE: _HEADER + _dump({"groups": groups}), MANIFEST_FILE: _HEADER + _dump(manifest)}


def write(file: ObjectivesFile, directory: Path) -> tuple[Path, ...]:
    """Write the generated files below the directory and return their paths."""
    paths = []
    for name, content in render(file).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        paths.append(path)
    return tuple(paths)


def outdated(file: ObjectivesFile, directory: Path) -> tuple[Path, ...]:
    """Find the generated files that are missing, or are not what the objectives say."""
    expected = {directory / name: content for name, content in render(file).items()}
    return tuple(
        path for path, content in expected.items() if not path.is_file() or path.read_text(encoding="utf-8") != content
    )


def _groups(file: ObjectivesFile) -> list[dict[str, Any]]:
    """Write the groups. Rules that build on each other share one, in which they run in order."""
    expressions = Expressions(file)
    recordings = [{"record": name, "expr": expr} for name, expr in expressions.recordings().items()]
    interval = f"{file.prometheus.interval_seconds}s"
    return [
        {
            "name": "booking-monitor",
            "interval": interval,
            "rules": [*recordings, *_rates(file, expressions), *_others(file, expressions)],
        },
        {"name": "booking-monitor-meta", "interval": interval, "rules": _meta(file, expressions)},
    ]


def _rates(file: ObjectivesFile, expressions: Expressions) -> list[dict[str, Any]]:
    """Write each SLI's critical alert and, after it, the warning that it mutes."""
    rules = []
    for sli, objective in file.objectives.ratios.items():
        name = RATE_ALERTS[sli]
        select = f"{{sli='{sli}',traffic='%s'}}"
        most = rule_summaries.rate(sli, objective, f"topk(1, booking_sli:critical_evidence:nats{select})")
        least = rule_summaries.rate(sli, objective, f"bottomk(1, booking_sli:warning_good:ratio{select})")
        critical, warning = expressions.critical_rate(sli), expressions.warning_rate(sli)
        rules += [
            _alert(file, name, Severity.CRITICAL, critical, file.objectives.critical.timing, most),
            _alert(file, name, Severity.WARNING, warning, file.objectives.warning.timing, least),
        ]
    return rules


def _others(file: ObjectivesFile, expressions: Expressions) -> list[dict[str, Any]]:
    objectives, job = file.objectives, file.prometheus.job
    return [
        _alert(
            file,
            AlertName.OVERDUE,
            Severity.WARNING,
            expressions.overdue(),
            objectives.overdue.timing,
            rule_summaries.overdue(job),
        ),
        _alert(
            file,
            AlertName.CANARY_FAILING,
            Severity.CRITICAL,
            expressions.canary_failing(),
            objectives.canary_failing.timing,
            rule_summaries.canary_failing(job),
            Traffic.CANARY,
        ),
        _alert(
            file,
            AlertName.SCHEMA_DRIFT,
            Severity.CRITICAL,
            expressions.schema_drift(),
            objectives.schema_drift.timing,
            rule_summaries.schema_drift(job),
            Traffic.REAL,
        ),
        _alert(
            file,
            AlertName.TRAFFIC_ABSENT,
            Severity.WARNING,
            expressions.traffic_absent(),
            objectives.traffic_absent.timing,
            rule_summaries.traffic_absent(),
            Traffic.REAL,
        ),
        _alert(
            file,
            AlertName.PAGE_UNDELIVERED,
            Severity.CRITICAL,
            expressions.page_undelivered(),
            objectives.page_undelivered.timing,
            rule_summaries.page_undelivered(job),
        ),
        _alert(
            file,
            AlertName.LEDGER_STALE,
            Severity.CRITICAL,
            expressions.ledger_stale(),
            objectives.ledger_stale.timing,
            rule_summaries.LEDGER_STALE,
        ),
    ]


def _meta(file: ObjectivesFile, expressions: Expressions) -> list[dict[str, Any]]:
    """Write what watches the monitor and Prometheus themselves."""
    down = expressions.monitor_down(MONITOR_DOWN)
    timing = file.prometheus.monitor_down
    watchdog = _alert(file, WATCHDOG, "none", "vector(1)", Timing(), rule_summaries.WATCHDOG)
    return [_alert(file, MONITOR_DOWN, Severity.CRITICAL, down, timing, rule_summaries.MONITOR_DOWN), watchdog]


def _alert(
    file: ObjectivesFile,
    name: str,
    severity: str,
    expr: str,
    timing: Timing,
    summary: str,
    traffic: Traffic | None = None,
) -> dict[str, Any]:
    lengths = {"for": timing.hold, "keep_firing_for": timing.keep}
    labels = {"severity": str(severity)} | ({"traffic": traffic.value} if traffic else {})
    return {
        "alert": str(name),
        "expr": expr,
        **{field: f"{length // SECOND}s" for field, length in lengths.items() if length},
        "labels": labels,
        "annotations": {
            "summary": summary,
            "runbook_url": file.objectives.runbook_url(name),
            "dashboard_url": _DASHBOARD,
            "status_page_url": _STATUS_PAGE,
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and nothing as a reference to something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature of PyYAML
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _dump(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
