from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.objectives import FILE, OBJECTIVES, OBJECTIVES_TEXT

from monitor.alerting.explanation import bookings_until_page, explain
from monitor.alerting.objectives_file import MAX_FILE_BYTES, ObjectivesError, load, parse
from monitor.domain.objectives import ALERT_KEYS, Maintenance
from monitor.domain.times import HOUR, MINUTE, SECOND
from monitor.domain.vocabulary import AlertName, Severity, Stage, Window

if TYPE_CHECKING:
    from pathlib import Path


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
    assert set(critical.windows) == {Window.M5, Window.H1, Window.H6, Window.H24}
    assert all(12 * companion.seconds == window.seconds for window, companion in critical.windows.items())
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
        ("maintenance", [{"reason": "x", "starts": "2026-12-01T02:00:00Z", "ends": "2026-12-01T03:00:00Z",
          "alerts": []}], ["maintenance.0.alerts", "at least 1"]),
        ("maintenance", [{"reason": "x", "starts": "2026-12-01T02:00:00Z", "ends": "2027-01-01T02:00:01Z"}],
         ["maintenance.0", "ends is 2027-01-01T02:00:01+00:00", "at most 31 days after starts"]),
        ("maintenance", [{"reason": "x", "starts": 1796090400, "ends": "2026-12-01T03:00:00Z"}],
         ["maintenance.0.starts", "such as 2026-12-01T02:00:00Z", "given: 1796090400"]),
        ("maintenance", [{"reason": "x", "starts": "2026-12-01T02:00:00Z", "ends": "1796090400"}],
         ["maintenance.0.ends", "such as 2026-12-01T02:00:00Z", "given: '1796090400'"]),
        ("maintenance", [{"reason": "x", "starts": "9999-12-31T02:00:00Z", "ends": "9999-12-31T23:00:00-14:00"}],
         ["maintenance.0.ends", "from 1970 to 9999"]),
        ("version", True, ["version", "the whole number 1", "given: True"]),
        ("version", 1.0, ["version", "the whole number 1", "given: 1.0"]),
        ("version", "1", ["version", "the whole number 1", "given: '1'"]),
        ("slis/realtime/objective", "0.95", ["slis.realtime.objective", "without quotes", "given: '0.95'"]),
        ("slis/realtime/objective", 10**400, ["slis.realtime.objective"]),
        ("rates/critical/alpha", "1e-4", ["rates.critical.alpha", "such as 0.95 or 1.0e-4", "given: '1e-4'"]),
        ("rates/critical/min_bad", True, ["rates.critical.min_bad", "valid integer"]),
        ("rates/critical/min_bad", 101, ["rates.critical.min_bad", "less than or equal to 100"]),
        ("rates/critical/for", "61m", ["rates.critical.for", "is 61m; allowed: from 0s to 1h"]),
        ("rates/warning/burn_rate", True, ["rates.warning.burn_rate", "allowed: a number", "given: True"]),
        ("rates/warning/for", "٢m", ["rates.warning.for", "such as 30s, 5m or 1h"]),
        ("rates/warning/windows", ["1h", "1h"], ["rates.warning.windows", "1h stands twice"]),
        ("alerts/BookingTrafficAbsent/windows", ["6h", "1h", "6h"],
         ["alerts.BookingTrafficAbsent.windows", "6h stands twice"]),
        ("alerts/BookingTrafficAbsent/p_value", "0.01", ["alerts.BookingTrafficAbsent.p_value", "without quotes"]),
        ("alerts/BookingCanaryFailing/at_least", 1000, ["alerts.BookingCanaryFailing.at_least", "equal to 100"]),
        ("alerts/BookingLedgerStale/older_than", "2h",
         ["alerts.BookingLedgerStale.older_than", "is 2h; allowed: from 10s to 1h"]),
        ("alerts/BookingLedgerStale/for", "1d", ["alerts.BookingLedgerStale.for", "is 1d; allowed: from 0s to 1h"]),
        ("alerts/BookingPageUndelivered/older_than", "1d",
         ["alerts.BookingPageUndelivered.older_than", "is 1d; allowed: from 10s to 1h"]),
        ("alerts/BookingMonitorDown/for", "2h", ["alerts.BookingMonitorDown.for", "from 0s to 1h"]),
        ("severities/critical/channels", ["pagerduty", "webhook", "pagerduty"],
         ["severities.critical.channels", "pagerduty stands twice; allowed: each one once"]),
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


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@books.test/runbooks",
        "https://books.test/run\nbooks",
        "https://books.test/{{ .Labels.sli }}",
        "https://books.test:65536/runbooks",
        "https://books.test:0/runbooks",
        "https://books.test:port/runbooks",
        "https://[::1/runbooks",
        "https:///runbooks",
        "https://books.test/runbooks?page=hunter2",
        'https://books.test/"runbooks"',
        "https://books.test/" + "a" * 1000,
    ],
)
def test_a_runbook_address_that_could_harm_a_page_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ObjectivesError, match="runbook_base_url: ") as caught:
        parse(changed("runbook_base_url", url))
    assert "hunter2" not in str(caught.value)
    assert "books.test" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1]:8080/runbooks", "HTTPS://books.test/a_b/%7Eops/tree/main"])
def test_a_runbook_address_may_have_a_port_and_escapes(url: str) -> None:
    assert parse(changed("runbook_base_url", url + "/")).objectives.runbook_base_url == url


def test_a_maintenance_window_may_last_31_days() -> None:
    window = {"reason": "move", "starts": "2026-12-01T02:00:00Z", "ends": "2027-01-01T02:00:00Z"}
    assert len(parse(changed("maintenance", [window])).objectives.maintenance) == 1


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
        (b"version: 1\nfor: !!bool maybe\n", "'tag:yaml.org,2002:bool' stands here, tags are not allowed(?s:.)*line 2"),
        (b'version: 1\nmin_bad: !!int ""\n', "tags are not allowed(?s:.)*line 2"),
        (b'alpha: !!float ""\n', "tags are not allowed(?s:.)*line 1"),
        (b"for: !!timestamp x\n", "tags are not allowed(?s:.)*line 1"),
        (b"a: !!seq {}\n", "tags are not allowed"),
        (b"a: ! 1\n", "tags are not allowed"),
        (b"version: 1\nstarts: 2026-13-01\n", "month must be in 1..12(?s:.)*line 2"),
        (b"version: 1\nalpha: 1" + b":00" * 200 + b".5\n", "not valid YAML(?s:.)*line 2"),
        (b"#" * (MAX_FILE_BYTES + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_objectives_file_gets_a_clear_error(content: bytes, complaint: str) -> None:
    with pytest.raises(ObjectivesError, match=complaint):
        parse(content)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "socket"])
def test_only_a_regular_file_is_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket must be short
    path = tmp_path / "objectives.yaml"
    with socket.socket(socket.AF_UNIX) as server:
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "directory":
                path.mkdir()
            case "device":
                path.symlink_to(os.devnull)
            case "socket":
                server.bind(path.name)
        with pytest.raises(ObjectivesError, match=r"objectives\.yaml: is not a regular file"):
            load(path)


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "objectives.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 35)  # sparse: takes no space, but would not fit into memory
    with pytest.raises(ObjectivesError, match=f"larger than the {MAX_FILE_BYTES} bytes"):
        load(path)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "objectives.yaml")


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


@pytest.mark.parametrize(("runs", "words"), [(3, "a false page in 1,010,101 runs"), (100, "practically never")])
def test_however_many_canaries_may_fail_the_explanation_has_its_false_pages(runs: int, words: str) -> None:
    explained = explain(parse(changed("alerts/BookingCanaryFailing/at_least", runs)))
    assert words in next(e.false_alarms for e in explained if e.alertname == AlertName.CANARY_FAILING)
