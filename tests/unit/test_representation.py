"""How rows are shown to callers, and the events that a subscriber gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Table

from monitor.domain.ids import new_id
from monitor.domain.lifecycle import Response, Status
from monitor.domain.notifying import push_payload
from monitor.domain.representation import (
    booking_created_event,
    show_booking,
    show_message,
    show_notification,
)
from monitor.domain.times import LAST_INSTANT, from_datetime, rfc3339
from monitor.domain.vocabulary import Traffic
from monitor.pipeline.realtime.hub import Event
from monitor.store.tables import bookings, chat_messages, notifications
from monitor.web import schemas

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
INSTANTS = st.integers(0, LAST_INSTANT)
EXTRA = st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53) | st.none() | st.booleans(), max_size=3)
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "traffic": st.sampled_from([traffic.value for traffic in Traffic]),
    "status": st.sampled_from([status.value for status in Status]),
    "provider_response_status": st.sampled_from([response.value for response in Response]),
    "sender_type": st.sampled_from(["system", "customer", "provider"]),
    "extra": st.none() | EXTRA.map(lambda value: orjson.dumps(value).decode()),
}


def rows_of(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    """Any row of a table."""
    columns: dict[str, st.SearchStrategy[Any]] = {}
    for column in table.columns:
        values = SPECIAL.get(column.name)
        if values is None:
            values = TEXT if column.type.python_type is str else INSTANTS
            if column.nullable:
                values = st.none() | values
        columns[column.name] = values
    return st.fixed_dictionaries(columns)


@given(rows_of(bookings))
def test_every_booking_is_shown_as_the_api_promises(row: dict[str, Any]) -> None:
    shown = show_booking(row)
    schemas.Booking.model_validate_json(orjson.dumps(shown))
    assert set(shown) == set(schemas.Booking.model_fields)
    assert shown["extra"] == (None if row["extra"] is None else json.loads(row["extra"]))


@given(rows_of(bookings))
def test_what_is_for_us_alone_is_not_shown(row: dict[str, Any]) -> None:
    assert "traceparent" not in show_booking(row)


@given(rows_of(chat_messages), rows_of(notifications))
def test_messages_and_notifications_are_shown_as_the_api_promises(
    message: dict[str, Any], notification: dict[str, Any]
) -> None:
    schemas.Message.model_validate_json(orjson.dumps(show_message(message)))
    schemas.Notification.model_validate_json(orjson.dumps(show_notification(notification)))


@given(rows_of(bookings), st.integers(1, 10_000))
def test_every_event_is_one_line_of_json_that_carries_its_booking(row: dict[str, Any], sequence: int) -> None:
    event_id, booking_id = new_id(5), new_id(5)
    shown = show_booking(row)
    frame = booking_created_event(event_id, booking_id, sequence, orjson.dumps(shown), TRACEPARENT)
    assert json.loads(frame) == {
        "type": "booking.created",
        "id": event_id,
        "booking_id": booking_id,
        "sequence": sequence,
        "traceparent": TRACEPARENT,
        "booking": shown,
    }
    assert b"\n" not in frame
    assert b"\r" not in frame


@given(rows_of(bookings))
def test_the_frame_that_leaves_is_that_event(row: dict[str, Any]) -> None:
    event = Event(new_id(1), new_id(2), "t-17", 3, orjson.dumps(show_booking(row)), TRACEPARENT)
    sent = json.loads(event.frame)
    assert (sent["id"], sent["booking_id"], sent["sequence"]) == (event.id, event.booking_id, 3)
    assert sent["traceparent"] == TRACEPARENT


@pytest.mark.parametrize("traceparent", [TRACEPARENT, None])
def test_a_frame_and_a_push_carry_the_trace_of_their_booking_where_it_has_one(traceparent: str | None) -> None:
    frame = json.loads(Event(new_id(1), new_id(2), "t-17", 1, b"{}", traceparent).frame)
    push = json.loads(push_payload(new_id(1), new_id(2), traceparent))
    assert frame.get("traceparent") == push.get("traceparent") == traceparent
    assert ("traceparent" in frame) is ("traceparent" in push) is (traceparent is not None)


@given(INSTANTS)
def test_an_instant_reads_back_as_itself(instant: int) -> None:
    text = rfc3339(instant)
    assert text.endswith("Z")
    assert from_datetime(datetime.fromisoformat(text)) == instant


def test_instants_are_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(1_796_133_600_007) == "2026-12-01T14:00:00.007Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(LAST_INSTANT) == "9999-12-31T23:59:59.999Z"
    assert from_datetime(datetime(2026, 12, 1, 14, tzinfo=UTC)) == 1_796_133_600_000


def test_a_time_without_a_zone_is_no_instant() -> None:
    with pytest.raises(ValueError, match="time zone"):
        from_datetime(datetime(2026, 12, 1, 14))  # noqa: DTZ001 - it is what is refused
