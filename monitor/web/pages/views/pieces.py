"""Pieces that several pages show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from monitor.alerting.payload import PageContent, web_url
from monitor.domain.rows import Fields
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import Outcome, PageState
from monitor.web.pages.facts import Incident, Level
from monitor.web.pages.formats import ago, at, booking_link, clock, from_rfc3339, length, until, when, words
from monitor.web.pages.html import Html, Node, h, join


def badge(text: str, level: Level) -> Html:
    """A word in the colour of how grave it is."""
    return h.span(text, class_=f"badge {level.value}")


def facts_list(pairs: Iterable[tuple[str, Node]]) -> Html:
    """Names and values; those without a value are left out."""
    return h.dl([h.div(h.dt(name), h.dd(value)) for name, value in pairs if value is not None], class_="facts")


def panel(key: str, title: str, *content: Node, aside: Node = None) -> Html:
    """A part of the page under a heading."""
    heading = f"{key}-heading"
    return h.section(
        h.div(h.h2(title, id=heading), h.p(aside, class_="aside") if aside is not None else None, class_="heading"),
        content,
        aria_labelledby=heading,
        class_="panel",
    )


def nothing(text: str) -> Html:
    """What stands where there is nothing to list."""
    return h.p(text, class_="nothing")


def stage_level(row: Fields) -> Level:
    """How a stage stands."""
    if row["outcome"] is None or row["outcome"] == Outcome.EXEMPT.value:
        return Level.IDLE
    return Level.BAD if Outcome(row["outcome"]).bad else Level.GOOD


def stage_chips(rows: Iterable[Fields]) -> Html:
    """The stages of a booking, each with its outcome; a bad one that got its evidence afterwards says so."""
    return h.ul([_chip(row) for row in rows], class_="chips")


_MARKS = {Level.GOOD: "✓", Level.BAD: "✗", Level.WARN: "✓", Level.IDLE: "–"}


def _chip(row: Fields) -> Html:
    level, told = stage_level(row), words(row["outcome"] or "open")
    if level is Level.BAD and row["evidence_at"] is not None and row["outcome"] != Outcome.LATE.value:
        level, told = Level.WARN, f"{told}, then {'repaired' if row['repairs'] else 'there'}"
    shown = words(row["stage"]) if level is Level.GOOD else f"{words(row['stage'])} {told}"
    return h.li(h.span(_MARKS[level], " ", aria_hidden="true"), shown, class_=f"chip {level.value}")


def state_badges(incident: Incident) -> list[Html]:
    """How grave an incident is, and how far it has got."""
    found = [badge(incident.severity.value, incident.level)]
    if incident.resolved_at is not None:
        found.append(badge("resolved", Level.GOOD))
    elif incident.acknowledged_at is not None:
        found.append(badge("acknowledged", Level.IDLE))
    if incident.content.drill:
        found.append(badge("drill", Level.IDLE))
    if incident.content.traffic == "canary":
        found.append(badge("canary traffic", Level.IDLE))
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, or was due, at an instant (milliseconds since the epoch)."""

    at: int
    what: str
    level: Level = Level.IDLE
    detail: Node = None


def timeline(entries: Iterable[Entry], now: int, *, origin: int | None = None) -> Html:
    """What happened, in order; with `origin` each is told by its time since then as well."""
    return h.ol(
        [
            h.li(
                h.p(
                    at(one.at, now),
                    h.span(_since(one.at - origin), class_="offset") if origin is not None else None,
                    class_="moment",
                ),
                h.div(h.p(one.what, class_="what"), h.p(one.detail, class_="muted") if one.detail else None),
                class_=f"entry {one.level.value}",
            )
            for one in sorted(entries, key=lambda one: one.at)
        ],
        class_="timeline",
    )


def _since(milliseconds: int) -> str:
    return f"+{milliseconds / SECOND:.2f} s" if milliseconds < MINUTE else f"+{length(milliseconds)}"


def evidence(
    content: PageContent, now: int, *, samples: int | None = None, more: Iterable[tuple[str, Node]] = ()
) -> Html:
    """Why an alert fires: what the diagnosis found, `more` that is known, and so many of the samples."""
    details: Mapping[str, Any] = content.details
    return facts_list(
        (
            ("First bad", _booking(details.get("first_bad_booking"), now)),
            ("Last good before", _booking(details.get("last_good_booking"), now)),
            ("In common", _factor(details.get("common_factor"))),
            ("At risk", _at_risk(details.get("revenue_at_risk"))),
            *more,
            ("Bookings", _samples(details.get("sample_bookings"), samples)),
        )
    )


def cause(content: PageContent) -> Html | None:
    """The probable cause, in a sentence."""
    found: Any = content.details.get("probable_cause")
    return None if found is None else h.p(str(found), class_="cause")


def links(content: PageContent, *, own: bool = False) -> Html | None:
    """Where to look further; `own` keeps the link to the page that is being shown."""
    shown = [link for link in content.links if (own or link.kind != "status_page") and web_url(link.href)]
    if not shown:
        return None
    return h.ul([h.li(h.a(link.text, href=link.href, rel="noreferrer")) for link in shown], class_="links")


def page_rows(rows: Iterable[Fields], now: int, *, with_incident: bool) -> Html:
    """Pages of the outbox, each with what became of it."""
    return h.ul([_page(row, now, with_incident=with_incident) for row in rows], class_="rows")


_PAGE_LEVELS = {PageState.PENDING: Level.WARN, PageState.DEAD: Level.BAD, PageState.SENT: Level.GOOD}


def _page(row: Fields, now: int, *, with_incident: bool) -> Html:
    state = PageState(row["state"])
    told: list[Node] = [words(row["action"]), " to ", row["channel"]]
    if with_incident:
        told = [h.a(f"Incident {row['incident']}", href=f"/incidents/{row['incident']}"), ": ", *told]
    facts: list[Node] = [f"{row['attempts']} tried"]
    if state is PageState.SENT and row["sent_at"] is not None:
        facts = ["accepted ", when(row["sent_at"], now)]
    elif state is PageState.PENDING and row["next_attempt_at"] is not None:
        facts += [", next ", until(row["next_attempt_at"], now)]
    return h.li(
        h.p(h.span(told), badge(_PAGE_WORDS[state], _PAGE_LEVELS.get(state, Level.IDLE)), class_="row-head"),
        h.p(facts, class_="muted"),
        h.p(row["last_error"], class_="muted error") if row["last_error"] else None,
    )


_PAGE_WORDS = {
    PageState.PENDING: "not accepted yet",
    PageState.DEAD: "given up",
    PageState.SENT: "accepted",
    PageState.SUPERSEDED: "superseded",
}


def _booking(found: Any, now: int) -> Html | None:
    if not found:
        return None
    instant = from_rfc3339(found["at"])
    return join(
        [booking_link(found["id"]), h.span("due ", clock(instant, now), " · ", ago(instant, now), class_="sub")]
    )


def _factor(found: Any) -> Html | None:
    if not found:
        return None
    name = next((key for key in found if key not in ("bad", "of")), None)
    return (
        None
        if name is None
        else join([words(name), " ", h.code(str(found[name])), f" in {found['bad']} of {found['of']}"])
    )


def _at_risk(found: Any) -> str | None:
    return ", ".join(f"{currency} {amount}" for currency, amount in found.items()) if found else None


def _samples(found: Any, limit: int | None) -> Html | None:
    if not found:
        return None
    shown = found if limit is None else found[:limit]
    more = len(found) - len(shown)
    return h.ul(
        [h.li(booking_link(str(one))) for one in shown],
        h.li(f"and {more} more", class_="sub") if more else None,
        class_="ids",
    )
