"""Whoever is to be woken is reminded until somebody says that they are on it."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from support.pagerduty_receiver import PagerDutyReceiver
from support.paging import PATIENCE, Site, site, to_pagerduty
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

KEY = "booking-monitor/production/BookingChatRoomCreationLow/chat_room/real/1"
SECRET = "the-secret-of-pagerduty"
HALF_AN_HOUR = 30 * 60_000


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyReceiver]:
    with PagerDutyReceiver() as receiver:
        yield receiver


@pytest.fixture
def monitor(tmp_path: Path, pagerduty: PagerDutyReceiver) -> Iterator[Site]:
    with site(tmp_path, **to_pagerduty(pagerduty), pagerduty_webhook_secret=SECRET) as service:
        yield service


def half_an_hour_passes(monitor: Site) -> None:
    """Make all that was said and done lie that much further back."""
    monitor.outside("UPDATE pages SET sent_at = sent_at - ?", HALF_AN_HOUR)
    monitor.outside("UPDATE incident_events SET at = at - ?", HALF_AN_HOUR)


def tell(monitor: Site, event_type: str, status: str) -> None:
    """Have PagerDuty tell of the incident."""
    body = json.dumps(
        {
            "event": {
                "id": str(uuid4()),
                "event_type": event_type,
                "occurred_at": datetime.now(UTC).isoformat(),
                "data": {"type": "incident", "status": status, "incident_key": KEY},
            }
        }
    ).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-PagerDuty-Signature": f"v1={signature}"}
    with monitor.client() as client:
        answer = client.post("/v1/pagerduty/webhook", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"effect": True})


def status_page(monitor: Site) -> str:
    with monitor.client() as client:
        return client.get("/incidents/1").raise_for_status().text


def test_reminders_come_until_somebody_acknowledges_and_again_when_nobody_is_on_it_any_more(
    monitor: Site, pagerduty: PagerDutyReceiver
) -> None:
    def arrived(count: int) -> None:
        pagerduty.wait_for(lambda: len(pagerduty.events) >= count, PATIENCE)
        assert [event["dedup_key"] for event in pagerduty.events] == [KEY] * count
        wait_until(
            lambda: [state for _, state, _ in monitor.pages("pagerduty")] == ["sent"] * count,
            what="it is noted",
            timeout_seconds=PATIENCE,
        )

    monitor.lose_chat_rooms(3)
    arrived(1)
    monitor.lose_chat_rooms(2)
    wait_until(
        lambda: monitor.rows("SELECT sum(bad) FROM sli_minutes WHERE sli = 'chat_room'") == [(5,)],
        what="all are judged",
        timeout_seconds=PATIENCE,
    )
    half_an_hour_passes(monitor)
    arrived(2)
    payload = pagerduty.events[1]["payload"]
    assert payload["summary"].startswith("Reminder, firing since ")
    assert ": 5 of 5 bookings since " in payload["summary"], "its counts are fresh"
    assert payload["custom_details"]["reminder"].endswith(", not acknowledged")
    assert [entry["event"] for entry in monitor.get("/v1/incidents/1")["timeline"]][-1] == "reminder sent"

    monitor.kill()
    monitor.start()
    monitor.evaluate_again()
    arrived(2)

    tell(monitor, "incident.acknowledged", "acknowledged")
    assert "Acknowledged" in status_page(monitor)
    half_an_hour_passes(monitor)
    monitor.evaluate_again()
    arrived(2)

    tell(monitor, "incident.escalated", "triggered")
    assert monitor.get("/v1/incidents/1")["acknowledged_at"] is None
    assert "escalated" in status_page(monitor)
    monitor.evaluate_again()
    arrived(2)
    half_an_hour_passes(monitor)
    arrived(3)

    assert len(pagerduty.incidents) == 1, "they are one incident"
    monitor.recover()
    wait_until(lambda: not pagerduty.open, what="the page is resolved", timeout_seconds=PATIENCE)
    half_an_hour_passes(monitor)
    monitor.evaluate_again()
    assert [action for action, _, _ in monitor.pages("pagerduty")] == ["trigger", "reminder", "reminder", "resolve"]
    assert pagerduty.refused == []
    assert not pagerduty.open
