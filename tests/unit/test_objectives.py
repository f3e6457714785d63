from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.objectives import FILE, OBJECTIVES, OBJECTIVES_TEXT

from monitor.alerting.explanation import bookings_until_page, explain
from monitor.alerting.objectives_file import MAX_FILE_BYTES, ObjectivesError, parse
from monitor.domain.objectives import ALERT_KEYS, Maintenance
from monitor.domain.times import HOUR, MINUTE, SECOND
from monitor.domain.vocabulary import AlertName, Severity, Stage, Window


def changed(path: str, value: Any) -> bytes:
    """Write the project's objectives with one field set, or removed where the value is None."""
    document = yaml.safe_load(OBJECTIVES_TEXT)
    *parents, last = path.split("/")
    place = document
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(document).encode()


def test_the_project_ships_the_objectives_of_its_contract() -> None:
    assert OBJECTIVES.ratios == {Stage.CHAT_ROOM: 0.95, Stage.NOTIFICATION: 0.98, Stage.REALTIME: 0.95}
    critical, warning = OBJECTIVES.critical, OBJECTIVES.warning
    assert (critical.alpha, critical.min_bad) == (0.0002, 2)
    assert critical.windows == {window: window.companion for window in (Window.M5, Window.H1, Window.H6, Window.H24)}
    assert (warning.burn_rate, warning.min_bad, warning.windows) == (1, 2, (Window.H1, Window.H24))
    assert (warning.timing.hold, OBJECTIVES.ledger_stale.older_than) == (2 * MINUTE, 60 * SECOND)
    assert (OBJECTIVES.canary_failing.at_least, OBJECTIVES.page_undelivered.older_than) == (3, 5 * MINUTE)


@pytest.mark.parametrize(
    ("path", "value", "complaints"),
    [
        ("version", 2, ["version", "1"]),
        ("surprise", 1, ["surprise", "Extra inputs are not permitted"]),
        ("slis/chat_room/objective", 95, ["slis.chat_room.objective", "less than or equal to 0.99999", "given: 95"]),
        ("slis/chat_room/objective", 0.4, ["slis.chat_room.objective", "greater than or equal to 0.5"]),
        ("slis/realtime", None, ["slis", "exactly chat_room, notification, realtime"]),
        ("slis/push", {"objective": 0.9}, ["slis", "exactly chat_room, notification, realtime"]),
        ("rates/critical/alpha", 0.3, ["rates.critical.alpha", "0.05"]),
        ("rates/critical/min_bad", 0, ["rates.critical.min_bad", "greater than or equal to 1"]),
        ("rates/critical/min_bad", "2", ["rates.critical.min_bad", "valid integer"]),
        ("rates/critical/windows", {"5m": "1h"}, ["rates.critical.windows", "companion 1h of 5m", "allowed: 25s"]),
        ("rates/critical/windows", {"25s": "25s"}, ["rates.critical.windows", "no shorter one"]),
        ("rates/critical/windows", {"10m": "25s"}, ["rates.critical.windows.10m", "'5m', '1h'"]),
        ("rates/critical/windows", {}, ["rates.critical.windows", "at least 1"]),
        ("rates/critical/for", None, ["rates.critical.for", "required"]),
        ("rates/warning/for", "2 minutes", ["rates.warning.for", "such as 30s, 5m or 1h", "given: '2 minutes'"]),
        ("rates/warning/for", 120, ["rates.warning.for", "such as 30s, 5m or 1h"]),
        ("rates/warning/for", "90d", ["rates.warning.for", "up to 1d"]),
        ("rates/warning/burn_rate", 20, ["warning.burn_rate", "never fire for chat_room", "100% failing", "below 20"]),
        ("rates/warning/burn_rate", 0.5, ["rates.warning.burn_rate", "greater than or equal to 1"]),
        ("rates/warning/burn_rate", float("nan"), ["rates.warning.burn_rate"]),
        ("alerts/BookingOverdue/older_than", "1s", ["alerts.BookingOverdue.older_than", "10"]),
        ("alerts/BookingNonsense", {}, ["alerts.BookingNonsense", "not permitted"]),
        ("alerts/BookingTrafficAbsent/windows", ["2d"], ["alerts.BookingTrafficAbsent.windows.0", "'6h'"]),
        ("severities/critical/channels", [], ["severities.critical.channels", "at least 1"]),
        ("severities/critical/channels", ["email"], ["channels.0", "'pagerduty', 'alertmanager' or 'webhook'"]),
        ("severities/critical/pagerduty", "high", ["severities.critical.pagerduty", "'critical', 'error'"]),
        ("severities/critical/repeat_every", "30s", ["severities.critical.repeat_every", "off, or", "from 60s"]),
        ("severities/warning/repeat_every", "2d", ["severities.warning.repeat_every", "to 1d", "given: '2d'"]),
        ("severities/warning/repeat_every", True, ["severities.warning.repeat_every", "off, or a whole number"]),
        ("severities/warning/repeat_every", 1800, ["severities.warning.repeat_every", "given: 1800"]),
        ("runbook_base_url", "javascript:alert(1)", ["runbook_base_url", "absolute http or https URL"]),
        ("prometheus/job", 'a"} or vector(1)', ["prometheus.job"]),
        ("prometheus/interval", "1m", ["prometheus.interval", "BookingLedgerStale", "30s"]),
        ("maintenance", [{"reason": "x", "starts": "2026-12-01T02:00:00", "ends": "2026-12-01T03:00:00Z"}],
         ["maintenance.0.starts", "timezone"]),
        ("maintenance", [{"reason": "x", "starts": "2026-12-01T02:00:00Z", "ends": "2026-12-01T02:00:00Z"}],
         ["maintenance.0", "after starts"]),
        ("maintenance", [{"reason": "x", "starts": "2026-12-01T02:00:00Z", "ends": "2026-12-01T03:00:00Z",
          "alerts": ["Watchdog"]}], ["maintenance.0.alerts"]),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_field_and_what_is_allowed(path: str, value: Any, complaints: list[str]) -> None:
    with pytest.raises(ObjectivesError) as caught:
        parse(changed(path, value))
    for complaint in complaints:
        assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "critical", "warning"),
    [
        ("severities/critical/repeat_every", None, 30 * MINUTE, None),
        ("severities/warning/repeat_every", None, 30 * MINUTE, None),
        ("severities/critical/repeat_every", False, None, None),
        ("severities/critical/repeat_every", "off", None, None),
        ("severities/warning/repeat_every", "4h", 30 * MINUTE, 4 * HOUR),
    ],
)
def test_critical_pages_are_repeated_and_warnings_are_not_unless_the_file_says_otherwise(
    path: str, value: Any, critical: int | None, warning: int | None
) -> None:
    routes = parse(changed(path, value)).objectives.routes
    assert routes[Severity.CRITICAL].repeat_every == critical
    assert routes[Severity.WARNING].repeat_every == warning


def test_all_faults_are_named_at_once() -> None:
    text = OBJECTIVES_TEXT.replace("objective: 0.98", "objective: 98").replace("for: 2m", "for: soon")
    with pytest.raises(ObjectivesError) as caught:
        parse(text.encode())
    assert "slis.notification.objective" in str(caught.value)
    assert "rates.warning.for" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty"),
        (b"- a\n", "not a mapping"),
        (b"a: [", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"a: " + b"[" * 20_000, "not valid YAML"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"version: 1\nversion: 1\n", "'version' stands twice"),
        (b"a: &x [1]\nb: [*x, *x]\n", "aliases are not allowed"),
        (b"? [a]\n: 1\n", "not valid YAML"),
        (b"#" * (MAX_FILE_BYTES + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_objectives_file_gets_a_clear_error(content: bytes, complaint: str) -> None:
    with pytest.raises(ObjectivesError, match=complaint):
        parse(content)


@given(st.text(max_size=200))
def test_any_text_is_either_understood_or_refused(text: str) -> None:
    with pytest.raises(ObjectivesError):
        parse(text.encode())


def test_a_maintenance_window_freezes_the_alerts_that_it_names_from_its_start_until_before_its_end() -> None:
    window = {"reason": "move", "starts": "2026-12-01T02:00:00Z", "ends": "2026-12-01T03:00:00Z"}
    named = parse(changed("maintenance", [{**window, "alerts": ["BookingOverdue"]}])).objectives
    start = named.maintenance[0].starts
    assert start == 1_796_090_400_000
    assert [named.in_maintenance("BookingOverdue", start + at) for at in (-1, 0, HOUR - 1, HOUR)] == [
        False,
        True,
        True,
        False,
    ]
    assert not named.in_maintenance("BookingLedgerStale", start)
    assert Maintenance("all", 0, 1, frozenset()).covers("BookingLedgerStale")


def test_every_alert_of_the_service_has_a_key_and_each_critical_rate_stands_before_its_warning() -> None:
    assert {key.alertname for key in ALERT_KEYS} == set(AlertName)
    assert len(set(ALERT_KEYS)) == len(ALERT_KEYS)
    for i, key in enumerate(ALERT_KEYS):
        critical = [
            k
            for k in ALERT_KEYS
            if k.severity is Severity.CRITICAL and k.labels == {**key.labels, "severity": "critical"}
        ]
        assert all(ALERT_KEYS.index(k) <= i for k in critical)


def test_every_rule_is_explained_in_plain_words_with_numbers() -> None:
    explained = {(e.alertname, e.severity): e for e in explain(FILE)}
    assert {name for name, _severity in explained} == {*AlertName, "BookingMonitorDown"}
    rule = explained[AlertName.CHAT_ROOM_LOW, Severity.CRITICAL]
    assert "a total outage pages after 3 bookings" in rule.fires
    assert "20 % failing after about 40" in rule.fires
    assert "0.01 at 2, 0.08 at 20" in rule.false_alarms


def test_the_explanation_is_computed_from_the_file() -> None:
    stricter = parse(changed("rates/critical/alpha", 0.000001))
    rule = next(e for e in explain(stricter) if e.alertname == AlertName.CHAT_ROOM_LOW)
    assert "a total outage pages after 5 bookings" in rule.fires
    assert "20 % failing after about 40" not in rule.fires
    assert rule.false_alarms != explain(FILE)[0].false_alarms


def test_after_healthy_traffic_a_total_outage_takes_a_few_bookings_more() -> None:
    needed = [bookings_until_page(OBJECTIVES.critical, 0.95, rate, failing=1.0) for rate in (2, 20, 200, 2000)]
    assert needed == [5, 7, 6, 21]
    assert bookings_until_page(OBJECTIVES.critical, 0.95, 20, failing=0.04) is None
