"""Letting go of what is older than it is kept, a small batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, literal, select, tuple_

from monitor.domain.ids import first_id
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import Traffic
from monitor.store.commands import Single
from monitor.store.tables import (
    bookings,
    drift_minutes,
    idempotency_keys,
    live_subscriptions,
    sli_minutes,
    sli_seconds,
    stages,
)

SECONDS_KEPT = 73 * 3600
"""Seconds for which counts by the second are kept: a little longer than the longest window."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Until when things were made that are let go. Instants in milliseconds since the epoch."""

    journeys: int
    canaries: int
    idempotency_keys: int
    minutes: int
    seconds: int

    @classmethod
    def at(cls, now: int, *, journeys: int, canaries: int, keys: int, counts: int) -> Retention:
        """Instants for ages, in milliseconds, before `now`."""
        return cls(now - journeys, now - canaries, now - keys, now - counts, now - SECONDS_KEPT * SECOND)


@dataclass(frozen=True, slots=True)
class Prune(Single[int]):
    """Removes one batch. Stages that are not judged yet are kept with their bookings."""

    before: Retention
    batch: int

    def run(self, connection: Connection) -> int:
        """Return how many rows of bookings, keys, subscriptions and counts went."""
        removed = self._bookings(connection, bookings.c.id < first_id(self.before.journeys), bookings.c.id)
        if removed == 0:
            removed = self._orphans(connection)
        canaries = bookings.c.traffic == literal(Traffic.CANARY.value, literal_execute=True)
        removed += self._bookings(
            connection, canaries & (bookings.c.created_at < self.before.canaries), bookings.c.created_at
        )
        removed += self._some(
            connection, idempotency_keys, idempotency_keys.c.created_at < self.before.idempotency_keys
        )
        removed += self._some(connection, live_subscriptions, live_subscriptions.c.closed_at < self.before.journeys)
        removed += self._some(connection, sli_minutes, sli_minutes.c.minute < self.before.minutes // MINUTE)
        removed += self._some(connection, drift_minutes, drift_minutes.c.minute < self.before.minutes // MINUTE)
        removed += self._some(connection, sli_seconds, sli_seconds.c.second < self.before.seconds // SECOND)
        return removed

    def _bookings(self, connection: Connection, old: ColumnElement[bool], age: Column[Any]) -> int:
        undecided = select(stages.c.booking_id).where(stages.c.booking_id == bookings.c.id, stages.c.outcome.is_(None))
        query = select(bookings.c.id).where(old, ~undecided.exists()).order_by(age).limit(self.batch)
        ids = list(connection.execute(query).scalars())
        if ids:
            connection.execute(delete(stages).where(stages.c.booking_id.in_(ids)))
            connection.execute(delete(bookings).where(bookings.c.id.in_(ids)))
        return len(ids)

    def _orphans(self, connection: Connection) -> int:
        """Remove stages that outlived their bookings: these were deleted by somebody else."""
        booking = select(bookings.c.id).where(bookings.c.id == stages.c.booking_id)
        old = stages.c.booking_id < first_id(self.before.journeys)
        return self._some(connection, stages, old & stages.c.outcome.is_not(None) & ~booking.exists())

    def _some(self, connection: Connection, table: Table, old: ColumnElement[bool]) -> int:
        key = tuple_(*table.primary_key.columns)
        some = select(*table.primary_key.columns).where(old).limit(self.batch)
        return connection.execute(delete(table).where(key.in_(some))).rowcount
