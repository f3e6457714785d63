"""The page of one incident."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.alerting.payload import PageContent
from monitor.domain.rows import Fields
from monitor.store.alerts import FullIncident
from monitor.store.handling import HANDED_BACK
from monitor.web.pages.facts import Incident, Level
from monitor.web.pages.formats import at, booking_link, from_rfc3339, length, unbroken, when
from monitor.web.pages.html import Html, Node, h
from monitor.web.pages.views import layout, pieces
from monitor.web.pages.views.pieces import Entry


def page(found: FullIncident, now: int, *, environment: str, signed_in: bool) -> str:
    """The page."""
    incident = Incident.from_row(found.incident)
    content = incident.content
    return layout.page(
        h.nav(h.a("← Status", href="/"), aria_label="Back"),
        layout.section("incident", _head(incident, now)),
        h.div(
            h.div(layout.section("timeline", _timeline(incident, found.events, now)), class_="column"),
            h.div(layout.section("sent", _pages(found.pages, now)), class_="column"),
            class_="columns",
        ),
        title=f"Incident {incident.number}: {content.summary}",
        now=now,
        level=incident.level if incident.resolved_at is None else Level.GOOD,
        environment=environment,
        live="refetch",
        signed_in=signed_in,
    )


def _head(incident: Incident, now: int) -> Html:
    content = incident.content
    if incident.resolved_at is None:
        state: Node = ["Firing since ", when(incident.fired_at, now)]
    else:
        state = ["Fired ", at(incident.fired_at, now), ", resolved ", when(incident.resolved_at, now)]
        state += [", after ", length(incident.resolved_at - incident.fired_at)]
    return h.article(
        h.div(pieces.state_badges(incident), h.span(f"Incident {incident.number}", class_="aside"), class_="heading"),
        h.h1(unbroken(content.summary)),
        h.p(state),
        h.p("Acknowledged ", when(incident.acknowledged_at, now), ".") if incident.acknowledged_at else None,
        pieces.cause(content),
        pieces.evidence(content, now, more=_about(content)),
        pieces.links(content),
        class_=f"incident whole {incident.level.value}",
    )


def _about(content: PageContent) -> tuple[tuple[str, Node], ...]:
    details = content.details
    return (
        ("Alert", h.code(content.alertname)),
        ("Counted", _counted(details.get("bad"), details.get("events"))),
        ("Objective", _text(details.get("objective"))),
        ("Cause class", _code(details.get("cause_class"))),
        ("Environment", content.environment),
    )


def _counted(bad: object, events: object) -> str | None:
    return f"{bad:,} bad of {events:,}" if isinstance(bad, int) and isinstance(events, int) and events else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _code(value: object) -> Html | None:
    return None if value is None else h.code(str(value))


def _timeline(incident: Incident, events: Sequence[Fields], now: int) -> Html:
    entries = [Entry(incident.active_at, "condition first seen", Level.WARN)]
    for name, title, level in _BOOKINGS:
        found: Any = incident.content.details.get(name)
        if found:
            entries.append(Entry(from_rfc3339(found["at"]), title, level, booking_link(found["id"])))
    entries += [
        Entry(row["at"], row["event"], _EVENT_LEVELS.get(row["event"], Level.IDLE), row["detail"]) for row in events
    ]
    return pieces.panel("timeline", "Timeline", pieces.timeline(entries, now))


_BOOKINGS = (
    ("last_good_booking", "last good booking due", Level.GOOD),
    ("first_bad_booking", "first bad booking due", Level.BAD),
)
_EVENT_LEVELS = {
    "fired": Level.BAD,
    "resolved": Level.GOOD,
    "page dead": Level.BAD,
    "page sent": Level.GOOD,
    "reminder dead": Level.BAD,
    "reminder sent": Level.GOOD,
    "acknowledged": Level.GOOD,
    **dict.fromkeys(HANDED_BACK, Level.WARN),
}


def _pages(rows: Sequence[Fields], now: int) -> Html:
    shown = pieces.page_rows(rows, now, with_incident=False) if rows else pieces.nothing("None: no channel was set up.")
    return pieces.panel("sent", "Pages", shown)
