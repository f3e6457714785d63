"""Reading journeys: bookings with their stages, and with their deliveries where they are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from monitor.domain.rows import Fields
from monitor.domain.vocabulary import Stage
from monitor.store.tables import bookings, deliveries, delivery_attempts, stages

_ORDER = {stage.value: position for position, stage in enumerate(Stage)}


@dataclass(slots=True)
class Journey:
    """The rows of one journey."""

    booking: Fields
    stages: list[Fields] = field(default_factory=list)
    deliveries: list[Fields] | None = None
    attempts: defaultdict[str, list[Fields]] = field(default_factory=lambda: defaultdict(list))
    """By delivery."""


def recent_ids(
    connection: Connection, *, provider_id: str | None, traffic: str | None, before: str | None, limit: int
) -> list[str]:
    """Ids of bookings, the newest first."""
    query = select(bookings.c.id).order_by(bookings.c.id.desc()).limit(limit)
    if provider_id is not None:
        query = query.where(bookings.c.provider_id == provider_id)
    if traffic is not None:
        query = query.where(bookings.c.traffic == traffic)
    if before is not None:
        query = query.where(bookings.c.id < before)
    return list(connection.execute(query).scalars())


def read(connection: Connection, booking_ids: Sequence[str], *, deliveries: bool) -> list[Journey]:
    """The journeys of these bookings, the newest first; those that are not there are left out."""
    found = {
        row["id"]: Journey(row)
        for row in connection.execute(
            select(bookings).where(bookings.c.id.in_(booking_ids)).order_by(bookings.c.id.desc())
        ).mappings()
    }
    for row in connection.execute(select(stages).where(stages.c.booking_id.in_(found))).mappings():
        found[row["booking_id"]].stages.append(row)
    for journey in found.values():
        journey.stages.sort(key=lambda row: _ORDER[row["stage"]])
    if deliveries:
        _read_deliveries(connection, found)
    return list(found.values())


def _read_deliveries(connection: Connection, found: dict[str, Journey]) -> None:
    by_delivery: dict[str, Journey] = {}
    for journey in found.values():
        journey.deliveries = []
    query = select(deliveries).where(deliveries.c.booking_id.in_(found)).order_by(deliveries.c.id)
    for row in connection.execute(query).mappings():
        journey = found[row["booking_id"]]
        by_delivery[row["id"]] = journey
        if journey.deliveries is not None:
            journey.deliveries.append(row)
    attempts = (
        select(delivery_attempts)
        .where(delivery_attempts.c.delivery_id.in_(by_delivery))
        .order_by(delivery_attempts.c.attempt)
    )
    for row in connection.execute(attempts).mappings():
        by_delivery[row["delivery_id"]].attempts[row["delivery_id"]].append(row)
