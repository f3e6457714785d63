"""Bookings to send, and what an answer and the store must then look like."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

MADE_WITH_A_BOOKING = (
    "bookings",
    "chat_rooms",
    "chat_messages",
    "notifications",
    "stages",
    "deliveries",
    "idempotency_keys",
)
"""Tables in which a booking leaves rows."""


def booking(**fields: Any) -> dict[str, Any]:
    """A booking that is in order, with `fields` added or replaced; None takes one away."""
    body = {
        "provider_id": "t-17",
        "provider_name": "Ayu Lestari",
        "provider_type": "therapist",
        "customer_id": "c-9",
        "customer_name": "Sam Carter",
    }
    return {name: value for name, value in (body | fields).items() if value is not None}


def make(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """Make a booking; returns the answer: booking, chat_room and notification."""
    answer = client.post("/v1/bookings", json=booking(**fields))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that an answer tells of; it has this status, and everything that a problem must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["type"] == "about:blank"
    assert told["title"]
    assert told["detail"]
    assert "Traceback" not in answer.text
    return told


def wrong_fields(answer: httpx.Response) -> set[str]:
    """The fields that a 422 names."""
    told = problem(answer, 422)
    assert all(error["message"] for error in told["errors"])
    return {error["field"] for error in told["errors"]}


def row_counts(database: Path) -> dict[str, int]:
    """How many rows the embedded store has of everything that a booking leaves."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - names of our own
            for table in MADE_WITH_A_BOOKING
        }
