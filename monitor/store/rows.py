"""Rows of tables into which more than one part writes, with the values of all columns in the order of their tables."""

from __future__ import annotations

from monitor.domain.vocabulary import DeliveryState, Stage
from monitor.store.statements import Row


def stage_row(booking_id: str, stage: Stage, traffic: str, created_at: int, due_at: int) -> Row:
    """A stage that is not judged yet. Times are milliseconds since the epoch."""
    return (booking_id, stage.value, traffic, created_at, due_at, None, None, None, None, 0, None)


def delivery_row(
    delivery_id: str, booking_id: str, stage: Stage, target: str, next_attempt_at: int | None, created_at: int
) -> Row:
    """A delivery that was not attempted yet, nor planned if there is no next attempt. Times in ms since the epoch."""
    state = DeliveryState.PENDING.value
    return (delivery_id, booking_id, stage.value, target, state, 0, next_attempt_at, None, created_at, None, 0)
