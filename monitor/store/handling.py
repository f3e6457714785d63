"""Who is on an incident: acknowledgements and what takes them back, as lines of its timeline."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, true, update

from monitor.domain.rows import Fields
from monitor.domain.vocabulary import PageAction, PageState
from monitor.store.commands import Single
from monitor.store.statements import insert_rows
from monitor.store.tables import incident_events, incidents, pages

CLOSED_BY_HAND = "closed by hand"
"""Somebody closed it at the receiver of its pages, though its alert goes on."""
HANDED_BACK = ("unacknowledged", "escalated", "reassigned", "delegated", "reopened", CLOSED_BY_HAND)
"""Lines of a timeline that say that who acknowledged an incident is not on it any more."""
_HANDLED = ("acknowledged", *HANDED_BACK)


@dataclass(frozen=True, slots=True)
class Acknowledge(Single[bool]):
    """Notes that somebody took an incident on: it is acknowledged since the first time, and no reminder leaves."""

    dedup_key: str
    at: int
    """When that was, in milliseconds since the epoch. Word of it may be late, and comes too late after later word."""

    def run(self, connection: Connection) -> bool:
        """Say whether it was news."""
        since = func.coalesce(incidents.c.acknowledged_at, self.at)
        number = _note(connection, self.dedup_key, self.at, "acknowledged", true(), acknowledged_at=since)
        if number is not None:
            supersede(connection, (pages.c.incident == number) & (pages.c.action == PageAction.REMINDER.value))
        return number is not None


@dataclass(frozen=True, slots=True)
class HandBack(Single[bool]):
    """Notes that nobody is on an open incident any more. Reminders go on, counted from then."""

    dedup_key: str
    at: int
    """As in `Acknowledge`."""
    event: str
    """One of HANDED_BACK."""

    def run(self, connection: Connection) -> bool:
        """Say whether it was news."""
        is_open = incidents.c.resolved_at.is_(None)
        return _note(connection, self.dedup_key, self.at, self.event, is_open, acknowledged_at=None) is not None


def _note(
    connection: Connection,
    dedup_key: str,
    at: int,
    event: str,
    where: ColumnElement[bool],
    *,
    acknowledged_at: ColumnElement[int] | None,
) -> int | None:
    """Write what came of an incident that is `where` it must be, and its number; None where it is no news."""
    number = _incident_of(connection, dedup_key)
    if number is None or handled_at(connection, number) >= at:
        return None
    statement = update(incidents).where(incidents.c.number == number, where).values(acknowledged_at=acknowledged_at)
    if not connection.execute(statement).rowcount:
        return None
    add_event(connection, number, at, event, "pagerduty")
    return number


def _incident_of(connection: Connection, dedup_key: str) -> int | None:
    """The newest incident that has pages under a key: those raised without the store share theirs."""
    query = select(func.max(pages.c.incident)).where(pages.c.dedup_key == dedup_key)
    return connection.execute(query).scalar_one_or_none()


def handled_at(connection: Connection, number: int) -> int:
    """When somebody last took an incident on, or let go of it; 0 where nobody did."""
    query = select(func.max(incident_events.c.at)).where(
        incident_events.c.incident == number, incident_events.c.event.in_(_HANDLED)
    )
    return connection.execute(query).scalar_one_or_none() or 0


def end_of(connection: Connection, dedup_key: str) -> Fields | None:
    """The newest incident with pages under a key: its `number` and `resolved_at`."""
    number = _incident_of(connection, dedup_key)
    if number is None:
        return None
    query = select(incidents.c.number, incidents.c.resolved_at).where(incidents.c.number == number)
    return connection.execute(query).mappings().one()


def add_event(connection: Connection, number: int, at: int, event: str, detail: str | None = None) -> None:
    """Add a line to the timeline of an incident."""
    last = connection.execute(
        select(func.max(incident_events.c.position)).where(incident_events.c.incident == number)
    ).scalar_one_or_none()
    insert_rows(connection, incident_events, [(number, 0 if last is None else last + 1, at, event, detail)])


def supersede(connection: Connection, which: ColumnElement[bool]) -> None:
    """Take back the pages that are not accepted yet: they would say what is no longer so."""
    connection.execute(
        update(pages)
        .where(which, pages.c.state == PageState.PENDING.value)
        .values(state=PageState.SUPERSEDED.value, next_attempt_at=None)
    )
