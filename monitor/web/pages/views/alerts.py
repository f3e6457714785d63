"""Alerts that fire, incidents, and pages that nobody has accepted."""

from __future__ import annotations

from monitor.domain.vocabulary import PageState
from monitor.web.pages.facts import Facts, Incident
from monitor.web.pages.formats import (
    ago,
    clock,
    length,
    unbroken,
)
from monitor.web.pages.html import Html, h
from monitor.web.pages.views import pieces

SHOWN_SAMPLES = 3
"""Bookings that a firing alert names here; its own page has more."""


def firing(facts: Facts) -> Html:
    """What fires and why; empty where nothing does."""
    firing, blind, pending = facts.firing, facts.blind, facts.pending
    if not firing and blind is None and not pending:
        return Html("")
    cards = (
        [] if blind is None else [h.article(h.h3(unbroken(blind.summary)), pieces.links(blind), class_="incident bad")]
    )
    cards += [_incident(incident, facts.now) for incident in firing]
    return h.section(
        h.h2("Firing" if cards else "About to fire", id="firing-heading"),
        h.div(cards, class_="incidents"),
        h.p(h.strong("Pending: "), ", ".join(pending), class_="muted") if pending else None,
        aria_labelledby="firing-heading",
    )


def _incident(incident: Incident, now: int) -> Html:
    content = incident.content
    return h.article(
        h.div(
            pieces.state_badges(incident),
            h.span("fired ", ago(incident.fired_at, now), class_="aside"),
            class_="heading",
        ),
        h.h3(h.a(unbroken(content.summary), href=f"/incidents/{incident.number}")),
        pieces.cause(content),
        pieces.evidence(content, now, samples=SHOWN_SAMPLES),
        pieces.links(content),
        class_=f"incident {incident.level.value}",
    )


def incidents(facts: Facts) -> Html:
    """The latest incidents."""
    found = [Incident.from_row(row) for row in facts.reading.recent_incidents]
    if not found:
        return pieces.panel("incidents", "Incidents", pieces.nothing("None so far."))
    return pieces.panel(
        "incidents",
        "Incidents",
        h.ul(
            [
                h.li(
                    h.p(
                        h.a(unbroken(f"{one.number}: {one.content.summary}"), href=f"/incidents/{one.number}"),
                        class_="row-head",
                    ),
                    h.p(
                        clock(one.fired_at, facts.now),
                        " · ",
                        one.severity.value,
                        f" · lasted {length(one.resolved_at - one.fired_at)}"
                        if one.resolved_at is not None
                        else [" · ", h.strong("firing")],
                        class_="muted",
                    ),
                )
                for one in found
            ],
            class_="rows",
        ),
        aside="the latest",
    )


def unsent(facts: Facts) -> Html:
    """Pages that are not accepted yet, or were given up."""
    rows = facts.reading.unsent_pages
    told = f"Every page was accepted. Pages leave by {', '.join(facts.channels)}." if facts.channels else "None."
    waiting = sum(
        facts.snapshot.pages.get((channel, state), 0) for channel, state in facts.snapshot.pages if state in _UNSENT
    )
    return pieces.panel(
        "pages",
        "Pages not accepted",
        pieces.page_rows(rows, facts.now, with_incident=True) if rows else pieces.nothing(told),
        aside=f"{len(rows)} of {waiting:,}" if waiting > len(rows) else None,
    )


_UNSENT = (PageState.PENDING, PageState.DEAD)
