"""Alerts, incidents and the outbox of pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, select, update

from monitor.domain.alert_lifecycle import Alert
from monitor.domain.ids import new_id
from monitor.domain.ledger import Mark
from monitor.domain.objectives import AlertKey
from monitor.domain.rows import Fields
from monitor.domain.vocabulary import AlertName, AlertState, PageAction, PageChannel, PageState, Severity
from monitor.store.commands import Single
from monitor.store.handling import add_event, handled_at, supersede
from monitor.store.leases import Fence, check_fence
from monitor.store.statements import insert_rows, upsert
from monitor.store.tables import alerts, incident_events, incidents, marks, pages

_KEY = ("alertname", "severity", "sli", "traffic")
_RAISED = (PageAction.TRIGGER.value, PageAction.REMINDER.value)


class NumberTakenError(Exception):
    """Another process entered an incident under the number, or of the alert, just before; nothing was written."""


@dataclass(frozen=True, slots=True)
class PlannedPage:
    """A page to be put into the outbox."""

    channel: str
    action: str
    dedup_key: str
    content: str
    """JSON."""
    sent_at: int | None = None
    """When it was accepted already; None: it has yet to be sent."""


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """What an evaluation changes about one incident: it is opened, looked at again, or resolved."""

    number: int
    key: AlertKey
    report: str
    """JSON: the content of its page as of now."""
    opened: Alert | None = None
    """The alert that fired, if the incident is new."""
    resolved_at: int | None = None
    pages: tuple[PlannedPage, ...] = ()
    event: str | None = None
    """A line of its timeline."""
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class AlertStore:
    """Where all alerts stand, and the incidents that are open."""

    alerts: Mapping[AlertKey, Alert]
    open: Mapping[AlertKey, Fields]
    next_number: int
    evaluated_at: int | None = None
    """When it was last noted that the alerts were evaluated."""


def read_alerts(connection: Connection) -> AlertStore:
    """Read what the evaluator begins with."""
    known = {
        _key(row): Alert(AlertState(row.state), row.active_at, row.fired_at, row.keeping_since, row.resolved_at)
        for row in connection.execute(select(alerts))
    }
    rows = connection.execute(select(incidents).where(incidents.c.resolved_at.is_(None))).mappings()
    newest = connection.execute(select(func.max(incidents.c.number))).scalar_one_or_none() or 0
    evaluated = connection.execute(select(marks.c.at).where(marks.c.name == Mark.EVALUATED.value)).scalar_one_or_none()
    return AlertStore(known, {_key(row): row for row in rows}, newest + 1, evaluated)


def _key(row: Any) -> AlertKey:
    get = row.__getitem__ if isinstance(row, Mapping) else lambda name: getattr(row, name)
    return AlertKey(AlertName(get("alertname")), Severity(get("severity")), get("sli"), get("traffic"))


@dataclass(frozen=True, slots=True)
class RecordEvaluation(Single[None]):
    """Writes what an evaluation changed: states, incidents and their pages, all or nothing."""

    changed: Mapping[AlertKey, Alert]
    incidents: tuple[IncidentChange, ...]
    now: int
    """Milliseconds since the epoch."""
    fence: Fence | None

    def run(self, connection: Connection) -> None:
        """Write it. Raises FencedOffError or NumberTakenError."""
        check_fence(connection, self.fence)
        for key, alert in self.changed.items():
            upsert(
                connection,
                alerts,
                {
                    **dict(zip(_KEY, key.values, strict=True)),
                    "state": alert.state.value,
                    "active_at": alert.active_at,
                    "fired_at": alert.fired_at,
                    "keeping_since": alert.keeping_since,
                    "resolved_at": alert.resolved_at,
                },
            )
        for change in self.incidents:
            self._write(connection, change)

    def _write(self, connection: Connection, change: IncidentChange) -> None:
        mine = incidents.c.number == change.number
        if change.opened is not None:
            opened = change.opened
            times = (opened.active_at, opened.fired_at, change.resolved_at, None, self.now)
            row = (change.number, *change.key.values, *times, change.report)
            if not insert_rows(connection, incidents, [row], skip_existing=True):
                raise NumberTakenError(f"incident {change.number} was entered by another process")
        else:
            connection.execute(
                update(incidents)
                .where(mine)
                .values(report=change.report, evaluated_at=self.now, resolved_at=change.resolved_at)
            )
        planned = change.pages
        if change.opened is None:
            # Whatever follows a trigger leaves by its channels alone, and under its key.
            told = _told_channels(connection, change.number)
            planned = tuple(
                replace(page, dedup_key=told[page.channel])
                for page in planned
                if page.channel in told
                and not (page.action == PageAction.REMINDER.value and _is_taken(connection, change))
            )
        if change.resolved_at is not None:
            supersede(connection, pages.c.incident == change.number)
        insert_rows(
            connection,
            pages,
            [
                (
                    new_id(self.now + position),
                    change.number,
                    page.channel,
                    page.action,
                    page.dedup_key,
                    page.content,
                    (PageState.PENDING if page.sent_at is None else PageState.SENT).value,
                    0 if page.sent_at is None else 1,
                    self.now if page.sent_at is None else None,
                    None,
                    self.now if page.sent_at is None else page.sent_at,
                    page.sent_at,
                )
                for position, page in enumerate(planned)
            ],
        )
        if change.event is not None:
            add_event(connection, change.number, self.now, change.event, change.detail)


def _is_taken(connection: Connection, change: IncidentChange) -> bool:
    """Whether somebody has acknowledged an incident, maybe only just before this transaction."""
    query = select(incidents.c.acknowledged_at).where(incidents.c.number == change.number)
    return connection.execute(query).scalar_one() is not None


def _told_channels(connection: Connection, number: int) -> dict[str, str]:
    """Channels on which the trigger of an incident was tried at least, with its key; no other needs to hear more."""
    tried = select(pages.c.channel, pages.c.dedup_key).where(pages.c.incident == number, pages.c.attempts > 0)
    return {row.channel: row.dedup_key for row in connection.execute(tried)}


@dataclass(frozen=True, slots=True)
class LastWord:
    """The last trigger or reminder of an incident that left, or has yet to leave, by one channel."""

    incident: int
    channel: PageChannel
    state: PageState
    sent_at: int | None
    """When it was accepted, in milliseconds since the epoch."""


def last_words(connection: Connection) -> tuple[LastWord, ...]:
    """What the channels were last told of the incidents that are open and that nobody has acknowledged.

    Where an incident was handed back meanwhile, that is the last word of it.
    """
    newest = (
        select(func.max(pages.c.id))
        .join_from(pages, incidents, incidents.c.number == pages.c.incident)
        .where(incidents.c.resolved_at.is_(None), incidents.c.acknowledged_at.is_(None), pages.c.action.in_(_RAISED))
        .group_by(pages.c.incident, pages.c.channel)
    )
    found = connection.execute(
        select(pages.c.incident, pages.c.channel, pages.c.state, pages.c.sent_at).where(pages.c.id.in_(newest))
    ).all()
    handled = {number: handled_at(connection, number) for number in {row.incident for row in found}}
    return tuple(
        LastWord(
            row.incident,
            PageChannel(row.channel),
            PageState(row.state),
            None if row.sent_at is None else max(row.sent_at, handled[row.incident]),
        )
        for row in found
    )


@dataclass(frozen=True, slots=True)
class RevivePages(Single[int]):
    """Has pages of open incidents that were given up sent again, as after a start, with what was mended before it."""

    now: int
    fence: Fence | None

    def run(self, connection: Connection) -> int:
        """Say how many there are. Raises FencedOffError."""
        check_fence(connection, self.fence)
        still_open = select(incidents.c.number).where(incidents.c.resolved_at.is_(None))
        return connection.execute(
            update(pages)
            .where(pages.c.state == PageState.DEAD.value, pages.c.incident.in_(still_open))
            .values(state=PageState.PENDING.value, attempts=0, next_attempt_at=self.now)
        ).rowcount


@dataclass(frozen=True, slots=True)
class ClaimPages(Single[list[Fields]]):
    """Takes pages that are due. Each counts as tried from now on, and comes due again when the lease ends."""

    now: int
    lease: int
    """Milliseconds."""
    limit: int
    channel: str
    under_way: tuple[int, ...]
    """Incidents for which a page is being sent now by this channel: their next one has to wait."""
    fence: Fence | None

    def run(self, connection: Connection) -> list[Fields]:
        """Return the pages, in order; of one incident only the first that is not accepted yet."""
        check_fence(connection, self.fence)
        waiting = pages.c.state == PageState.PENDING.value
        earlier = pages.alias("earlier")
        blocked = (
            select(earlier.c.id)
            .where(
                earlier.c.incident == pages.c.incident,
                earlier.c.channel == pages.c.channel,
                earlier.c.state == PageState.PENDING.value,
                earlier.c.id < pages.c.id,
            )
            .exists()
        )
        query = (
            select(pages)
            .where(waiting, pages.c.next_attempt_at <= self.now, pages.c.channel == self.channel, ~blocked)
            .order_by(pages.c.id)
            .limit(self.limit)
        )
        if self.under_way:
            query = query.where(pages.c.incident.not_in(self.under_way))
        claimed: list[Fields] = list(connection.execute(query).mappings())
        ids = [row["id"] for row in claimed]
        connection.execute(
            update(pages)
            .where(pages.c.id.in_(ids))
            .values(attempts=pages.c.attempts + 1, next_attempt_at=self.now + self.lease)
        )
        return claimed


@dataclass(frozen=True, slots=True)
class RecordPage(Single[None]):
    """Writes down what became of an attempt to send a page."""

    page_id: str
    incident: int
    channel: str
    state: PageState
    now: int
    next_attempt_at: int | None
    detail: str
    tried: bool = True
    """False when nothing was sent: then the attempt is taken back."""
    told: bool = True
    """Whether the timeline tells of it."""
    action: PageAction = PageAction.TRIGGER

    def run(self, connection: Connection) -> None:
        """Write it. A page that was superseded meanwhile stays so, unless it was accepted."""
        values: dict[str, Any] = {"state": self.state.value, "next_attempt_at": self.next_attempt_at}
        if self.state is PageState.SENT:
            values |= {"sent_at": self.now, "last_error": None}
        else:
            values["last_error"] = self.detail
        if not self.tried:
            values["attempts"] = pages.c.attempts - 1
        mine = pages.c.id == self.page_id
        if self.state is not PageState.SENT:
            mine &= pages.c.state == PageState.PENDING.value
        written = connection.execute(update(pages).where(mine).values(values)).rowcount
        if written and self.told and self.state in (PageState.SENT, PageState.DEAD):
            what = "reminder" if self.action is PageAction.REMINDER else "page"
            add_event(
                connection, self.incident, self.now, f"{what} {self.state.value}", f"{self.channel}: {self.detail}"
            )


def resendable(connection: Connection, channel: str, ended_after: int) -> Sequence[Fields]:
    """The last accepted page of each incident on a channel, for incidents that are open or ended after an instant."""
    newest = select(func.max(pages.c.id)).where(pages.c.channel == channel).group_by(pages.c.incident)
    query = (
        select(pages, incidents.c.resolved_at, incidents.c.report)
        .join_from(pages, incidents, incidents.c.number == pages.c.incident)
        .where(
            pages.c.id.in_(newest),
            pages.c.state == PageState.SENT.value,
            incidents.c.resolved_at.is_(None) | (incidents.c.resolved_at > ended_after),
        )
    )
    return connection.execute(query).mappings().all()


def incident_page(connection: Connection, *, before: int | None, active: bool, limit: int) -> Sequence[Fields]:
    """Incidents, the newest first."""
    query = select(incidents).order_by(incidents.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(incidents.c.number < before)
    if active:
        query = query.where(incidents.c.resolved_at.is_(None))
    return connection.execute(query).mappings().all()


@dataclass(frozen=True, slots=True)
class FullIncident:
    """An incident with its timeline and its pages."""

    incident: Fields
    events: Sequence[Fields]
    pages: Sequence[Fields]


def find_incident(connection: Connection, number: int) -> FullIncident | None:
    """One incident by its number."""
    row = connection.execute(select(incidents).where(incidents.c.number == number)).mappings().one_or_none()
    if row is None:
        return None
    events = select(incident_events).where(incident_events.c.incident == number).order_by(incident_events.c.position)
    sent = select(pages).where(pages.c.incident == number).order_by(pages.c.id)
    return FullIncident(row, connection.execute(events).mappings().all(), connection.execute(sent).mappings().all())


def unsent_pages(connection: Connection, limit: int) -> Sequence[Fields]:
    """Pages that are not accepted yet, the oldest first."""
    query = (
        select(pages)
        .where(pages.c.state.in_((PageState.PENDING.value, PageState.DEAD.value)))
        .order_by(pages.c.id)
        .limit(limit)
    )
    return connection.execute(query).mappings().all()
