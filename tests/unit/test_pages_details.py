"""The pages of one incident and of one booking, from values."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.alerting.payload import PageContent
from monitor.domain.times import MINUTE, SECOND, optional_rfc3339, rfc3339
from monitor.domain.vocabulary import Severity
from monitor.store.alerts import FullIncident
from monitor.web.pages.views import booking, incident

NOW = 1_795_176_000_000
BOOKING = "01a2043e-c2a5-73d5-a2b8-4e92e8685012"


def incident_page(
    *, resolved_at: int | None = None, acknowledged_at: int | None = None, pages: Any = (), **details: Any
) -> str:
    content = PageContent(
        summary="7 of 9 bookings have no chat room",
        alertname="BookingChatRoomCreationLow",
        severity=Severity.CRITICAL,
        environment="production",
        incident=4,
        fired_at=NOW - 3 * MINUTE,
        details={"bad": 7, "events": 9, "objective": "95 %", **details},
    )
    row = {
        "number": 4,
        "severity": "critical",
        "active_at": NOW - 3 * MINUTE,
        "fired_at": NOW - 3 * MINUTE,
        "resolved_at": resolved_at,
        "acknowledged_at": acknowledged_at,
        "report": content.model_dump_json(),
    }
    events = [
        {"at": NOW - 3 * MINUTE, "event": "fired", "detail": content.summary},
        {"at": NOW - 2 * MINUTE, "event": "page sent", "detail": "pagerduty: accepted"},
    ]
    return incident.page(FullIncident(row, events, pages), NOW, environment="production", signed_in=False)


def test_a_firing_incident_says_since_when_and_what_was_counted() -> None:
    page = incident_page()
    assert "Firing since" in page
    assert "7 bad of 9" in page
    assert "None: no channel was set up." in page


def test_a_resolved_incident_says_how_long_it_lasted_and_no_longer_alarms() -> None:
    page = incident_page(resolved_at=NOW - MINUTE, acknowledged_at=NOW - 2 * MINUTE)
    assert ", after 2 min" in page
    assert ">resolved<" in page
    assert "Acknowledged" in page
    assert 'class="incident whole bad"' not in page


def test_the_timeline_is_in_order_from_the_last_good_booking_on() -> None:
    page = incident_page(
        last_good_booking={"id": BOOKING, "at": rfc3339(NOW - 9 * MINUTE)},
        first_bad_booking={"id": BOOKING, "at": rfc3339(NOW - 8 * MINUTE)},
    )
    told = page[page.index('id="timeline"') :]
    steps = ["last good booking due", "first bad booking due", "condition first seen", ">fired<", "page sent"]
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)


@pytest.mark.parametrize(
    ("state", "told"),
    [("pending", "not accepted yet"), ("sent", "accepted"), ("dead", "given up"), ("superseded", "superseded")],
)
def test_each_page_says_what_became_of_it(state: str, told: str) -> None:
    row = {
        "incident": 4,
        "channel": "pagerduty",
        "action": "trigger",
        "state": state,
        "attempts": 2,
        "next_attempt_at": NOW + MINUTE if state == "pending" else None,
        "sent_at": NOW if state == "sent" else None,
        "last_error": None,
    }
    assert f">{told}<" in incident_page(pages=[row])


def stage(name: str, *, evidence: int | None, outcome: str | None, reason: str | None = None) -> dict[str, Any]:
    return {
        "stage": name,
        "due_at": rfc3339(NOW + 5 * SECOND),
        "evidence_at": optional_rfc3339(evidence),
        "outcome": outcome,
        "reason": reason,
        "judged_at": None,
        "repairs": 0,
    }


def booking_page(*stages: dict[str, Any], now: int = NOW + MINUTE, trace_url: str | None = None, **more: Any) -> str:
    journey = {
        "booking_id": BOOKING,
        "traffic": "real",
        "provider_id": "t-1",
        "customer_id": "c-1",
        "status": "pending",
        "provider_response_status": "awaiting_response",
        "created_at": rfc3339(NOW),
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "stages": stages,
        "deliveries": [],
        **more,
    }
    return booking.page(journey, now, environment="production", trace_url=trace_url, signed_in=False)


def test_a_journey_tells_what_came_when_since_the_booking_was_made() -> None:
    page = booking_page(
        stage("chat_room", evidence=NOW + 250, outcome="good", reason="on_time"),
        stage("notification", evidence=NOW + 7 * SECOND, outcome="late", reason="late"),
        stage("realtime", evidence=None, outcome="failed", reason="subscriber_silent"),
    )
    told = page[page.index('id="journey"') : page.index('id="stages"')]
    steps = ["booking created", "+0.25 s", "chat room: there<", "realtime was due", "notification: there, late"]
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)
    assert "failed: subscriber silent" in told


def test_what_is_not_due_yet_is_open_and_not_bad() -> None:
    page = booking_page(stage("realtime", evidence=None, outcome=None), now=NOW + SECOND)
    assert "realtime is due" in page
    assert "not judged yet" in page
    assert 'class="incident whole idle"' in page


def test_what_was_not_owed_is_not_bad() -> None:
    page = booking_page(stage("realtime", evidence=None, outcome="exempt", reason="no_live_subscription"))
    assert 'class="incident whole good"' in page
    assert "no live subscription" in page


def test_every_attempt_of_a_delivery_is_told_with_its_error() -> None:
    delivery = {
        "id": BOOKING,
        "stage": "push",
        "state": "retrying",
        "attempts": 1,
        "next_attempt_at": rfc3339(NOW + 2 * MINUTE),
        "last_error": "<503>",
        "delivered_at": None,
        "history": [{"attempt": 1, "at": rfc3339(NOW + SECOND), "result": "error", "detail": "<503>"}],
    }
    page = booking_page(deliveries=[delivery])
    assert "push delivery, attempt 1: error" in page
    assert "next in 1 min" in page
    assert "&lt;503&gt;" in page


def test_ids_that_do_not_look_like_ids_are_shown_as_hashes() -> None:
    page = booking_page(customer_id="sam@example.com", provider_id="+62 812 555")
    assert "sam@example.com" not in page
    assert "812" not in page
    assert page.count("hash:") == 2


def test_a_trace_is_linked_where_there_is_a_place_for_traces() -> None:
    assert "0af7651916cd43dd8448eb211c80319c" not in booking_page()
    linked = booking_page(trace_url="https://traces.example/{trace_id}")
    assert 'href="https://traces.example/0af7651916cd43dd8448eb211c80319c"' in linked
