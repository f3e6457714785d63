"""What a page says, and that it always fits."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pagerduty_receiver import ROUTING_KEY, change_errors, event_errors

from monitor.alerting.channels import PAGE_RETRIES, Page
from monitor.alerting.channels.alertmanager import alert_of
from monitor.alerting.channels.http import Reply, checked_url, result_of, retry_after_seconds
from monitor.alerting.channels.pacing import SlidingWindow
from monitor.alerting.channels.pagerduty import change_of, changed_objectives, encode, event_of, new_release
from monitor.alerting.channels.webhook import body_of, signature
from monitor.alerting.payload import (
    BookingRef,
    Cause,
    Factor,
    IncidentReport,
    Links,
    PageContent,
    build,
    dedup_key,
    report_dedup_key,
)
from monitor.alerting.resending import resend_due
from monitor.domain.times import HOUR, MINUTE, SECOND, from_datetime
from monitor.domain.vocabulary import AlertName, PageAction, Reason, Severity, Stage, Traffic

AT_1402 = from_datetime(datetime(2026, 1, 22, 14, 2, 31, tzinfo=UTC))
AT_1410 = AT_1402 + 8 * MINUTE
REPORT = IncidentReport(
    number=12,
    alertname=AlertName.CHAT_ROOM_LOW,
    severity=Severity.CRITICAL,
    environment="production",
    sli=Stage.CHAT_ROOM,
    traffic=Traffic.REAL,
    fired_at=AT_1410,
    evaluated_at=AT_1410,
    events=9,
    bad=7,
    since=AT_1402,
    objective=0.95,
    cause=Cause(Reason.NEVER_ATTEMPTED),
    first_bad=BookingRef("0197-b1", AT_1402),
    last_good=BookingRef("0197-a9", AT_1402 - 3 * SECOND),
    bookings=tuple(f"0197-b{number}" for number in range(1, 8)),
    factor=Factor("provider_id", "t-17", bad=6, of=7),
    revenue_at_risk={"IDR": 245_000_000, "JPY": 12_000},
    links=Links(
        runbook="https://example.org/runbooks/BookingChatRoomCreationLow.md",
        dashboard="https://grafana.example.org/d/booking-pipeline",
        status_page="https://monitor.example.org/",
        trace="https://traces.example.org/trace/4bf92f3577b34da6a3ce929d0e0e4736",
    ),
)


def changed(**changes: Any) -> IncidentReport:
    return dataclasses.replace(REPORT, **changes)


def page(report: IncidentReport = REPORT, action: PageAction = PageAction.TRIGGER) -> Page:
    return Page("page-1", action, report_dedup_key(report), build(report), report.evaluated_at)


def test_the_summary_says_how_many_since_when_and_against_which_objective() -> None:
    assert build(REPORT).summary == "7 of 9 bookings since 14:02 have no chat room (objective 95 %)"


@pytest.mark.parametrize(
    ("report", "summary"),
    [
        (
            changed(alertname=AlertName.NOTIFICATION_LOW, sli=Stage.NOTIFICATION, objective=0.98),
            "7 of 9 bookings since 14:02 have no delivered notification (objective 98 %)",
        ),
        (
            changed(alertname=AlertName.REALTIME_LOW, sli=Stage.REALTIME, bad=1),
            "1 of 9 bookings since 14:02 was not seen live by its provider (objective 95 %)",
        ),
        (
            changed(cause=Cause(Reason.LATE), objective=0.9995),
            "7 of 9 bookings since 14:02 got their chat room late (objective 99.95 %)",
        ),
        (
            changed(traffic=Traffic.CANARY, drill=True),
            "DRILL: 7 of 9 canary bookings since 14:02 have no chat room (objective 95 %)",
        ),
        (
            changed(since=AT_1402 - 24 * HOUR),
            "7 of 9 bookings since 2026-01-21 14:02 have no chat room (objective 95 %)",
        ),
        (
            changed(alertname=AlertName.OVERDUE, bad=1, sli=Stage.CHAT_ROOM),
            "1 booking due since 14:02 has no chat room, and repair did not help",
        ),
        (changed(alertname=AlertName.OVERDUE, sli=None), None),
        (
            changed(alertname=AlertName.CANARY_FAILING, bad=3, sli=None, traffic=Traffic.CANARY),
            "3 canary bookings in a row failed since 14:02",
        ),
        (
            changed(alertname=AlertName.SCHEMA_DRIFT, sli=None),
            "7 of 9 bookings since 14:02 do not fit the schema that the pipeline needs",
        ),
        (
            changed(alertname=AlertName.TRAFFIC_ABSENT, sli=None, events=1, expected=24.3),
            "1 booking since 14:02 where about 24 were expected",
        ),
        (
            changed(alertname=AlertName.LEDGER_STALE, sli=None, evaluated_at=AT_1402 + 75 * SECOND),
            "No booking could be judged for 75 s: the rate alerts are frozen",
        ),
        (
            changed(alertname=AlertName.PAGE_UNDELIVERED, sli=None, channel="pagerduty"),
            "A page to pagerduty has not been accepted for 8 min",
        ),
    ],
)
def test_each_alert_has_a_sentence_of_its_own(report: IncidentReport, summary: str | None) -> None:
    assert build(report).summary == (summary or "7 bookings due since 14:02 are not complete, and repair did not help")


def test_the_details_hold_what_is_needed_at_night_the_most_important_first() -> None:
    details = build(REPORT).details
    assert next(iter(details)) == "probable_cause"
    assert details == {
        "probable_cause": "Nothing tried to make the chat room: the component that should do so did not run.",
        "cause_class": "never_attempted",
        "incident": 12,
        "environment": "production",
        "bad": 7,
        "events": 9,
        "objective": "95 %",
        "since": "2026-01-22T14:02:31.000Z",
        "fired_at": "2026-01-22T14:10:31.000Z",
        "first_bad_booking": {"id": "0197-b1", "at": "2026-01-22T14:02:31.000Z"},
        "last_good_booking": {"id": "0197-a9", "at": "2026-01-22T14:02:28.000Z"},
        "revenue_at_risk": {"IDR": "2,450,000.00", "JPY": "12,000"},
        "common_factor": {"provider_id": "t-17", "bad": 6, "of": 7},
        "sample_bookings": [f"0197-b{number}" for number in range(1, 8)],
    }


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (Cause(Reason.WRITE_REJECTED), "rejected the chat room."),
        (Cause(Reason.TARGET_MISSING), "does not exist."),
        (
            Cause(Reason.FIELD_MISMATCH, compared_field="therapistId", set_field="providerId"),
            "is looked for in therapistId but stands in providerId",
        ),
        (Cause(Reason.SUBSCRIBER_SILENT), "no acknowledgement came back"),
        (Cause(Reason.PLATFORM_UNREACHABLE), "could not be reached."),
    ],
)
def test_the_probable_cause_is_a_sentence_that_names_the_fields(cause: Cause, sentence: str) -> None:
    assert sentence in str(build(changed(cause=cause)).details["probable_cause"])


def test_every_reason_and_every_alert_has_a_wording() -> None:
    for reason in Reason:
        assert build(changed(cause=Cause(reason))).details["cause_class"] == reason
    for alertname in AlertName:
        assert build(changed(alertname=alertname, sli=None, since=None, cause=None, objective=None)).summary


def test_at_most_ten_bookings_are_named() -> None:
    samples = build(changed(bookings=tuple(f"b-{number}" for number in range(500)))).details["sample_bookings"]
    assert samples == [f"b-{number}" for number in range(10)]


@pytest.mark.parametrize("personal", ["Ayu Lestari", "+62 812 3456 7890", "Jl. Raya Ubud 12, Bali", "sam@example.org"])
def test_what_does_not_look_like_an_id_leaves_as_a_hash(personal: str) -> None:
    report = changed(
        bookings=(personal,),
        first_bad=BookingRef(personal, AT_1402),
        last_good=BookingRef(personal, AT_1402),
        factor=Factor("provider_id", personal, 6, 7),
        cause=Cause(Reason.FIELD_MISMATCH, compared_field=personal, set_field=personal),
        channel=personal,
    )
    content = build(report)
    assert personal not in content.model_dump_json()
    assert re.fullmatch(r"hash:[0-9a-f]{16}", content.details["sample_bookings"][0])  # type: ignore[index,arg-type]  # a JSON list


def test_only_web_addresses_become_links() -> None:
    bad = Links(
        runbook="javascript:alert(1)",
        dashboard="//host",
        status_page="http://",
        trace="https://a b",
    )
    content = build(changed(links=bad))
    assert content.links == ()
    assert content.status_page is None
    assert [link.kind for link in build(REPORT).links] == ["runbook", "status_page", "dashboard", "trace"]


@given(st.text(max_size=300), st.sampled_from(AlertName), st.integers(min_value=1))
def test_a_dedup_key_is_always_short_enough_and_the_same_for_the_same_incident(
    environment: str, alertname: AlertName, number: int
) -> None:
    key = dedup_key(environment, alertname, Stage.CHAT_ROOM, Traffic.REAL, number)
    assert 0 < len(key) <= 255
    assert key == dedup_key(environment, alertname, Stage.CHAT_ROOM, Traffic.REAL, number)
    assert key != dedup_key(environment, alertname, Stage.CHAT_ROOM, Traffic.REAL, number + 1)
    assert key != dedup_key(environment + "x", alertname, Stage.CHAT_ROOM, Traffic.REAL, number)


def test_the_dedup_key_is_readable() -> None:
    assert report_dedup_key(REPORT) == "booking-monitor/production/BookingChatRoomCreationLow/chat_room/real/12"
    assert dedup_key("a/b", "BookingLedgerStale", None, None, 3) == "booking-monitor/a%2Fb/BookingLedgerStale/-/-/3"


def test_content_survives_the_outbox() -> None:
    content = build(REPORT)
    assert PageContent.model_validate_json(content.model_dump_json()) == content


class TestPagerDutyEvent:
    def test_a_trigger_keeps_every_published_rule(self) -> None:
        event = json.loads(encode(event_of(page()), ROUTING_KEY))
        assert event_errors(event) == []
        assert event["payload"]["severity"] == "critical"
        assert event["payload"]["timestamp"] == "2026-01-22T14:10:31.000Z"
        assert event["payload"]["component"] == "chat_room"
        assert event["client_url"] == "https://monitor.example.org/"
        assert [link["text"] for link in event["links"]][:2] == ["Runbook", "Status page"]

    @pytest.mark.parametrize("action", [PageAction.ACKNOWLEDGE, PageAction.RESOLVE])
    def test_the_other_actions_carry_nothing_but_the_key(self, action: PageAction) -> None:
        assert event_of(page(action=action)) == {"event_action": action, "dedup_key": report_dedup_key(REPORT)}

    def test_a_warning_stays_a_warning(self) -> None:
        assert event_of(page(changed(severity=Severity.WARNING)))["payload"]["severity"] == "warning"

    def test_too_long_an_event_loses_its_samples_first_and_keeps_the_rest(self) -> None:
        content = build(REPORT)
        huge = content.model_copy(update={"details": {**content.details, "sample_bookings": ["b" * 100] * 10_000}})
        event = json.loads(encode(event_of(dataclasses.replace(page(), content=huge)), ROUTING_KEY))
        kept = {name: value for name, value in content.details.items() if name != "sample_bookings"}
        assert event["payload"]["custom_details"] == kept
        assert len(event["links"]) == 4

    @given(
        st.dictionaries(st.text(max_size=20), st.integers(min_value=0, max_value=700_000), max_size=6),
        st.text(alphabet="x😀", max_size=3000),
    )
    def test_an_event_never_exceeds_the_limits(self, sizes: dict[str, int], summary: str) -> None:
        content = build(REPORT).model_copy(
            update={"summary": summary or "-", "details": {name: "é" * size for name, size in sizes.items()}}
        )
        body = encode(event_of(dataclasses.replace(page(), content=content)), ROUTING_KEY)
        assert len(body) <= 512_000
        event = json.loads(body)
        assert event_errors(event) == []
        assert event["dedup_key"] == report_dedup_key(REPORT)
        assert event["payload"]["summary"][:1000] == (summary or "-")[:1000]

    @given(st.builds(changed, environment=st.text(max_size=400), bookings=st.tuples(st.text(max_size=300))))
    def test_whatever_the_names_hold_the_event_is_valid(self, report: IncidentReport) -> None:
        assert event_errors(json.loads(encode(event_of(page(report)), ROUTING_KEY))) == []

    def test_change_events_keep_the_published_rules(self) -> None:
        changes = [
            new_release("1.2.0", "1.1.9", "production", AT_1402),
            changed_objectives({"chat_room": (0.95, 0.97)}, "production", AT_1402),
        ]
        for change in changes:
            assert change_errors(json.loads(encode(change_of(change), ROUTING_KEY))) == []
        assert "chat_room 0.95 to 0.97" in change_of(changes[1])["payload"]["summary"]


class TestAlertmanagerAlert:
    def test_a_firing_alert_starts_when_it_fired_and_ends_four_resends_after_its_evaluation(self) -> None:
        late = dataclasses.replace(page(), evaluated_at=AT_1410 + HOUR)
        alert = alert_of(late, 5 * SECOND)
        assert alert["labels"] == {
            "alertname": "BookingChatRoomCreationLow",
            "severity": "critical",
            "sli": "chat_room",
            "traffic": "real",
            "environment": "production",
        }
        assert alert["startsAt"] == "2026-01-22T14:10:31.000Z"
        assert alert["endsAt"] == "2026-01-22T15:14:31.000Z"
        assert alert_of(late, 2 * MINUTE)["endsAt"] == "2026-01-22T15:18:31.000Z"
        assert alert["generatorURL"] == "https://monitor.example.org/"

    def test_a_resolved_alert_ends_when_it_was_resolved(self) -> None:
        report = changed(resolved_at=AT_1410 + MINUTE, evaluated_at=AT_1410 + MINUTE)
        assert alert_of(page(report, PageAction.RESOLVE), 5 * SECOND)["endsAt"] == "2026-01-22T14:11:31.000Z"

    def test_annotations_are_text_and_hold_the_runbook(self) -> None:
        annotations = alert_of(page(), 5 * SECOND)["annotations"]
        assert all(isinstance(value, str) for value in annotations.values())
        assert annotations["runbook_url"].endswith("BookingChatRoomCreationLow.md")
        assert json.loads(annotations["sample_bookings"])[0] == "0197-b1"

    def test_labels_without_a_value_are_left_out(self) -> None:
        stale = changed(alertname=AlertName.LEDGER_STALE, sli=None, traffic=None)
        assert set(alert_of(page(stale), 1)["labels"]) == {"alertname", "severity", "environment"}

    @pytest.mark.parametrize(
        ("now", "sent_at", "resolved_at", "due"),
        [
            (0, None, None, True),
            (MINUTE, 0, None, False),
            (MINUTE + 1, 0, None, True),
            (30 * SECOND, 0, 20 * SECOND, True),
            (80 * SECOND, 30 * SECOND, 20 * SECOND, False),
            (91 * SECOND, 30 * SECOND, 20 * SECOND, True),
            (15 * MINUTE, 0, 0, True),
            (15 * MINUTE + 1, 0, 0, False),
            (15 * MINUTE + 1, None, 0, False),
        ],
    )
    def test_resends_follow_prometheus(self, now: int, sent_at: int | None, resolved_at: int | None, due: bool) -> None:  # noqa: FBT001 - an expected value
        assert resend_due(now, sent_at=sent_at, resolved_at=resolved_at) is due


class TestWebhookBody:
    def test_the_body_is_the_content_with_its_action_and_key(self) -> None:
        body = orjson.loads(body_of(page()))
        assert body["id"] == "page-1"
        assert body["action"] == "trigger"
        assert body["dedup_key"] == report_dedup_key(REPORT)
        assert body["summary"].startswith("7 of 9")
        assert body["fired_at"] == "2026-01-22T14:10:31.000Z"

    def test_the_signature_is_that_of_time_and_body(self) -> None:
        # printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        expected = "b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        assert signature(b"{}", "secret", 1_700_000_000) == f"t=1700000000,v1={expected}"


class TestAnswers:
    @pytest.mark.parametrize("status", [408, 425, 429, 200, 500, 502, 503, 504])
    def test_what_may_pass_is_tried_again(self, status: int) -> None:
        assert result_of(Reply(status, b"", None), accepted={202}, now_seconds=0).status == "retry"

    @pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413])
    def test_what_will_not_pass_is_rejected(self, status: int) -> None:
        assert result_of(Reply(status, b"", None), accepted={202}, now_seconds=0).status == "rejected"

    def test_the_detail_is_short_printable_and_without_secrets(self) -> None:
        body = b'{"errors":["key \x1b[31m' + ROUTING_KEY.encode() + b'"' + b"x" * 9000
        detail = result_of(Reply(400, body, None), accepted={202}, now_seconds=0, secrets=(ROUTING_KEY,)).detail
        assert ROUTING_KEY not in detail
        assert "***" in detail
        assert detail.isprintable()
        assert len(detail) <= 200

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("7", 7.0),
            ("0", 1.0),
            ("86400", 900.0),
            ("999999999999", None),
            ("-5", None),
            ("soon", None),
            (None, None),
            ("Thu, 22 Jan 2026 14:02:51 GMT", 20.0),
            ("Thu, 22 Jan 2026 14:00:00 GMT", 1.0),
            ("Thu, 22 Jan 2099 14:00:00 GMT", 900.0),
        ],
    )
    def test_retry_after_is_read_within_bounds(self, header: str | None, seconds: float | None) -> None:
        assert retry_after_seconds(header, AT_1402 / 1000) == seconds

    @given(st.text())
    def test_no_retry_after_breaks_the_reading(self, header: str) -> None:
        seconds = retry_after_seconds(header, 0.0)
        assert seconds is None or 1.0 <= seconds <= 900.0

    @given(st.integers(min_value=1, max_value=299), st.floats(min_value=0, max_value=1, exclude_max=True))
    def test_without_one_the_wait_doubles_from_half_a_minute_to_five(self, attempt: int, chance: float) -> None:
        planned = min(30_000 * 2 ** (attempt - 1), 300_000)
        delay = PAGE_RETRIES.delay(attempt, chance)
        assert delay is not None
        assert 0.8 * planned <= delay <= 1.2 * planned

    @pytest.mark.parametrize("url", ["", "ftp://x", "http://", "https://\x00", "nonsense", "http://[::1"])
    def test_a_bad_url_is_refused_by_the_name_of_its_setting(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"^HEARTBEAT_URL: an absolute http:// or https:// URL is needed$"):
            checked_url("HEARTBEAT_URL", url)


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=60))
def test_no_span_of_the_window_ever_holds_more_calls_than_allowed(gaps: list[float]) -> None:
    window, now, taken = SlidingWindow(5, 60.0), 0.0, []
    for gap in gaps:
        now += gap
        if window.acquire(now) == 0:
            taken.append(now)
    for start in taken:
        assert sum(start <= at < start + 60.0 for at in taken) <= 5


def test_the_wait_that_is_told_is_enough() -> None:
    window = SlidingWindow(2, 60.0)
    assert window.acquire(0.1) == window.acquire(10.0) == 0
    wait = window.acquire(20.0)
    assert 0 < wait <= 40.1
    assert window.acquire(20.0 + wait + 0.001) == 0
