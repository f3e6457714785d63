"""The page of one booking: its journey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.alerting.payload import safe_id, web_url
from monitor.domain.vocabulary import AttemptResult, Outcome
from monitor.web.pages.facts import Level
from monitor.web.pages.formats import at, from_rfc3339, number, until, when, words
from monitor.web.pages.html import Html, h
from monitor.web.pages.views import layout, pieces
from monitor.web.pages.views.pieces import Entry

Journey = Mapping[str, Any]
"""As `audit.journeys` shows it."""


def page(journey: Journey, now: int, *, environment: str, trace_url: str | None, signed_in: bool) -> str:
    """The page; `trace_url` has `{trace_id}` in it."""
    return layout.page(
        h.nav(h.a("← Status", href="/"), aria_label="Back"),
        layout.section("booking", _head(journey, now, trace_url)),
        h.div(
            h.div(layout.section("journey", _journey(journey, now)), class_="column"),
            h.div(
                layout.section("stages", _stages(journey, now)),
                layout.section("deliveries", _deliveries(journey, now)),
                class_="column",
            ),
            class_="columns",
        ),
        title=f"Booking {journey['booking_id']}",
        now=now,
        level=_level(journey),
        environment=environment,
        live="refetch",
        signed_in=signed_in,
    )


def _level(journey: Journey) -> Level:
    levels = [pieces.stage_level(stage) for stage in journey["stages"]]
    if Level.BAD in levels:
        return Level.BAD
    return Level.IDLE if all(stage["outcome"] is None for stage in journey["stages"]) else Level.GOOD


def _head(journey: Journey, now: int, trace_url: str | None) -> Html:
    trace = None
    if trace_url is not None and journey["trace_id"] is not None:
        url = trace_url.replace("{trace_id}", journey["trace_id"])
        trace = h.a("Trace", href=url, rel="noreferrer") if web_url(url) else None
    return h.article(
        h.div(
            pieces.badge(f"{journey['traffic']} traffic", Level.IDLE),
            pieces.badge(words(journey["status"]), Level.IDLE),
            class_="heading",
        ),
        h.h1("Booking ", h.code(journey["booking_id"])),
        pieces.stage_chips(journey["stages"]),
        pieces.facts_list(
            (
                ("Created", when(from_rfc3339(journey["created_at"]), now)),
                ("Provider", h.code(safe_id(journey["provider_id"]))),
                ("Answer", words(journey["provider_response_status"])),
                ("Customer", h.code(safe_id(journey["customer_id"]))),
                ("Trace", trace),
            )
        ),
        class_=f"incident whole {_level(journey).value}",
    )


def _journey(journey: Journey, now: int) -> Html:
    created_at = from_rfc3339(journey["created_at"])
    entries = [Entry(created_at, "booking created"), *_stage_entries(journey, now), *_delivery_entries(journey)]
    return pieces.panel("journey", "Journey", pieces.timeline(entries, now, origin=created_at))


def _stage_entries(journey: Journey, now: int) -> Iterator[Entry]:
    for stage in journey["stages"]:
        name, due_at = words(stage["stage"]), from_rfc3339(stage["due_at"])
        evidence_at = None if stage["evidence_at"] is None else from_rfc3339(stage["evidence_at"])
        if evidence_at is not None:
            late = evidence_at > due_at
            yield Entry(evidence_at, f"{name}: there{', late' if late else ''}", Level.WARN if late else Level.GOOD)
        if stage["outcome"] is None:
            yield Entry(due_at, f"{name} {'is due' if due_at > now else 'was due'}", Level.IDLE, "not judged yet")
        elif pieces.stage_level(stage) is not Level.GOOD:
            yield Entry(due_at, f"{name} was due", pieces.stage_level(stage), _verdict(stage))


def _verdict(stage: Mapping[str, Any]) -> str:
    told = f"{stage['outcome']}: {words(stage['reason'])}"
    return f"{told}; {number(stage['repairs'], 'repair')} tried" if stage["repairs"] else told


_RESULT_LEVELS = {AttemptResult.OK.value: Level.GOOD}


def _delivery_entries(journey: Journey) -> Iterator[Entry]:
    for delivery in journey["deliveries"]:
        for attempt in delivery["history"]:
            yield Entry(
                from_rfc3339(attempt["at"]),
                f"{words(delivery['stage'])} delivery, attempt {attempt['attempt']}: {words(attempt['result'])}",
                _RESULT_LEVELS.get(attempt["result"], Level.WARN),
                attempt["detail"],
            )


def _stages(journey: Journey, now: int) -> Html:
    return pieces.panel(
        "stages",
        "Stages",
        h.ul(
            [
                h.li(
                    h.p(
                        h.span(words(stage["stage"])),
                        pieces.badge(words(stage["outcome"] or "open"), pieces.stage_level(stage)),
                        class_="row-head",
                    ),
                    h.p(
                        "due ",
                        at(from_rfc3339(stage["due_at"]), now),
                        [", there ", at(from_rfc3339(stage["evidence_at"]), now)] if stage["evidence_at"] else None,
                        f", {words(stage['reason'])}"
                        if stage["reason"] and stage["outcome"] != Outcome.GOOD.value
                        else None,
                        f", {number(stage['repairs'], 'repair')} tried" if stage["repairs"] else None,
                        class_="muted",
                    ),
                )
                for stage in journey["stages"]
            ],
            class_="rows",
        ),
    )


_STATE_LEVELS = {"delivered": Level.GOOD, "retrying": Level.WARN, "dead": Level.BAD}


def _deliveries(journey: Journey, now: int) -> Html:
    found = journey["deliveries"]
    return pieces.panel(
        "deliveries",
        "Deliveries",
        h.ul(
            [
                h.li(
                    h.p(
                        h.span(words(delivery["stage"])),
                        pieces.badge(delivery["state"], _STATE_LEVELS.get(delivery["state"], Level.IDLE)),
                        class_="row-head",
                    ),
                    h.p(
                        number(delivery["attempts"], "attempt"),
                        [", acknowledged ", at(from_rfc3339(delivery["delivered_at"]), now)]
                        if delivery["delivered_at"]
                        else None,
                        f", next {until(from_rfc3339(delivery['next_attempt_at']), now)}"
                        if delivery["next_attempt_at"]
                        else None,
                        class_="muted",
                    ),
                    h.p(delivery["last_error"], class_="muted error") if delivery["last_error"] else None,
                )
                for delivery in found
            ],
            class_="rows",
        )
        if found
        else pieces.nothing("None was planned."),
    )
