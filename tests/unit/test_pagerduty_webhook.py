"""Only genuine, new and well-formed webhooks of our own incidents have an effect."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from monitor.alerting.pagerduty_webhook import (
    MAX_AGE,
    MAX_CLOCK_SKEW,
    Admission,
    IncidentChange,
    IncidentEvent,
    ReplayGuard,
    WebhookError,
    genuine,
    parse,
)
from monitor.domain.times import HOUR, from_datetime

SECRET = SecretStr("webhook-secret")
KEY = "booking-monitor/production/BookingChatRoomCreationLow/chat_room/real/12"
NOW = from_datetime(datetime(2026, 1, 22, 14, 30, tzinfo=UTC))
BODY = b'{"event":{}}'


def sign(body: bytes, secret: str = SECRET.get_secret_value()) -> str:
    return f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def webhook(**changes: Any) -> bytes:
    """A webhook as PagerDuty's documentation shows it, with the names of persons that it may carry."""
    event = {
        "id": "01BX5ZZKBKACTAV9WEVGEMMVRZ",
        "event_type": "incident.acknowledged",
        "resource_type": "incident",
        "occurred_at": "2026-01-22T14:29:58.169Z",
        "agent": {"id": "PLH1HKV", "summary": "Tenex Engineer", "type": "user_reference"},
        "client": {"name": "PagerDuty"},
        "data": {"id": "PGR0VU2", "type": "incident", "status": "acknowledged", "incident_key": KEY},
    }
    return json.dumps({"event": {**event, **changes}}).encode()


def test_a_signature_of_the_very_bytes_is_genuine() -> None:
    # printf '{"event":{}}' | openssl dgst -sha256 -hmac webhook-secret
    assert genuine(BODY, "v1=f832bb79ff2a8fa7e7d7692d3e9d732f6dcf082362e6073651de4d8e6370ada0", SECRET)


@pytest.mark.parametrize(
    "header",
    [
        f"{sign(BODY, 'old')},{sign(BODY)}",
        f"{sign(BODY)},{sign(BODY, 'new')}",
        f"v2=abc, {sign(BODY)}",
        f"v1=,{sign(BODY)}",
    ],
)
def test_one_right_signature_of_several_is_enough(header: str) -> None:
    assert genuine(BODY, header, SECRET)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "v1=",
        "v1",
        ",,,",
        sign(BODY)[:-1],
        sign(BODY).upper(),
        sign(BODY).replace("v1=", "v2="),
        sign(BODY).removeprefix("v1="),
        sign(BODY, "other"),
        sign(BODY + b" "),
        "v1=é" * 3,
        "v1=x," * 50 + sign(BODY),
    ],
)
def test_anything_else_is_not_genuine(header: str | None) -> None:
    assert not genuine(BODY, header, SECRET)


def test_without_a_secret_nothing_is_genuine() -> None:
    assert not genuine(BODY, sign(BODY, ""), SecretStr(""))


@given(st.binary(), st.text())
def test_no_header_breaks_the_verification(body: bytes, header: str) -> None:
    assert not genuine(body, header, SECRET)


@pytest.mark.parametrize(
    ("event_type", "change"),
    [
        ("incident.acknowledged", IncidentChange.ACKNOWLEDGED),
        ("incident.unacknowledged", IncidentChange.UNACKNOWLEDGED),
        ("incident.resolved", IncidentChange.RESOLVED),
    ],
)
def test_who_takes_an_incident_on_lets_go_of_it_or_closes_it_names_our_incident(
    event_type: str, change: IncidentChange
) -> None:
    event = parse(webhook(event_type=event_type))
    assert event == IncidentEvent("01BX5ZZKBKACTAV9WEVGEMMVRZ", change, KEY, NOW - 2000 + 169)


ASSIGNMENTS = ("escalated", "reassigned", "delegated", "reopened")


@pytest.mark.parametrize("name", ASSIGNMENTS)
@pytest.mark.parametrize("status", ["triggered", None])
def test_whoever_gets_an_incident_has_not_acknowledged_it_yet(name: str, status: str | None) -> None:
    data = {"type": "incident", "status": status, "incident_key": KEY}
    event = parse(webhook(event_type=f"incident.{name}", data=data))
    assert event is not None
    assert event.change.value == name


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_an_incident_that_stays_acknowledged_is_not_handed_back(name: str) -> None:
    assert parse(webhook(event_type=f"incident.{name}")) is None


@pytest.mark.parametrize(
    "body",
    [
        webhook(event_type="incident.triggered"),
        webhook(event_type="incident.annotated"),
        webhook(event_type="pagey.ping", data={"type": "ping", "message": "Hello from your friend Pagey!"}),
        webhook(data={"type": "incident", "incident_key": "d3640fbd41094207a1c11e58e46b1662"}),
        webhook(data={"type": "incident", "incident_key": None}),
        webhook(data={"type": "incident"}),
        webhook(data={"type": "incident", "incident_key": "booking-monitor/" + "x" * 300}),
    ],
)
def test_what_is_no_concern_of_ours_is_passed_over(body: bytes) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b"[" * 100_000, "body"),
        (b"{}", "event"),
        (webhook(event_type=None), "event.event_type"),
        (webhook(event_type=["incident.resolved"]), "event.event_type"),
        (webhook(data="x"), "event.data"),
        (webhook(id=7), "event.id"),
        (webhook(id="x" * 129), "event.id"),
        (webhook(occurred_at="yesterday"), "event.occurred_at"),
        (webhook(occurred_at="2026-01-22T14:29:58"), "event.occurred_at"),
    ],
)
def test_a_malformed_body_is_refused_by_the_name_of_its_field(body: bytes, field: str) -> None:
    with pytest.raises(WebhookError, match=f"^{field}: "):
        parse(body)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)
    )
)
def test_no_body_breaks_the_parser(value: Any) -> None:
    for document in (value, {"event": value}, {"event": {"event_type": "incident.resolved", "data": value}}):
        with contextlib.suppress(WebhookError):
            assert parse(json.dumps(document).encode()) is None


def event(id_: str = "a", occurred_at: int = NOW) -> IncidentEvent:
    return IncidentEvent(id_, IncidentChange.ACKNOWLEDGED, KEY, occurred_at)


class TestReplays:
    def test_an_event_has_an_effect_once(self) -> None:
        guard = ReplayGuard()
        assert guard.admit(event(), NOW) is Admission.NEW
        assert guard.admit(event(), NOW + HOUR) is Admission.REPEATED
        assert guard.admit(event("b"), NOW + HOUR) is Admission.NEW

    def test_an_old_event_has_none_even_when_its_id_is_forgotten(self) -> None:
        assert ReplayGuard().admit(event(occurred_at=NOW - MAX_AGE - 1), NOW) is Admission.STALE
        assert ReplayGuard().admit(event(occurred_at=NOW - MAX_AGE), NOW) is Admission.NEW

    def test_an_event_from_the_future_has_none(self) -> None:
        assert ReplayGuard().admit(event(occurred_at=NOW + MAX_CLOCK_SKEW + 1), NOW) is Admission.STALE
        assert ReplayGuard().admit(event(occurred_at=NOW + MAX_CLOCK_SKEW), NOW) is Admission.NEW

    def test_its_memory_is_bounded(self) -> None:
        guard = ReplayGuard(capacity=3)
        for number in range(10):
            assert guard.admit(event(str(number)), NOW) is Admission.NEW
        assert [guard.admit(event(str(number)), NOW) for number in (9, 8, 7)] == [Admission.REPEATED] * 3

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3 * MAX_AGE)), max_size=30))
    def test_no_event_is_ever_new_twice(self, deliveries: list[tuple[str, int]]) -> None:
        guard, occurred, new = ReplayGuard(), {"a": NOW, "b": NOW + HOUR, "c": NOW + MAX_AGE}, []
        for id_, later in sorted(deliveries, key=lambda delivery: delivery[1]):
            if guard.admit(event(id_, occurred[id_]), NOW + later) is Admission.NEW:
                new.append(id_)
        assert len(new) == len(set(new))
