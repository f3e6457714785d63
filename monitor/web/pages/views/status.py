"""The status page: what is wrong first, then the rates, then the single things."""

from __future__ import annotations

from monitor.alerting.payload import safe_id
from monitor.alerting.wording import percent
from monitor.domain.ledger import Mark
from monitor.domain.times import MINUTE
from monitor.domain.vocabulary import (
    SLIS,
    CanaryResult,
    DeliveryState,
    PageState,
    Stage,
    Traffic,
    Window,
)
from monitor.web.pages.facts import Facts, Incident, Level, Verdict, verdict
from monitor.web.pages.formats import (
    DAY,
    SLI_TITLES,
    ago,
    at,
    booking_link,
    clock,
    length,
    minute_of_day,
    money,
    number,
    share,
    unbroken,
    until,
    words,
)
from monitor.web.pages.html import Html, Node, h, join
from monitor.web.pages.plots import Axis, plot
from monitor.web.pages.views import layout, pieces
from monitor.web.pages.views.layout import section

HOUR_SPANS = (5, 12)
"""Minutes of a span, and spans, of the plot of the last hour."""
DAY_SPANS = (30, 48)
"""The same of the plot of the last day."""

SHOWN_SAMPLES = 3
"""Bookings that a firing alert names here; its own page has more."""
PLOTS = tuple(f"plots-{sli.value}" for sli in SLIS)
"""The parts that hold plots."""
Sections = dict[str, str]
"""The content of each part that is kept up to date, by its id."""


def page(facts: Facts, sections: Sections, *, signed_in: bool) -> str:
    """The whole page."""

    def part(key: str, class_: str | None = None) -> Html:
        return section(key, Html(sections[key]), class_=class_)

    found = verdict(facts)
    return layout.page(
        h.div(part("verdict"), role="status", aria_live="polite"),
        part("truth", "truth"),
        part("notices"),
        part("firing"),
        h.nav(
            h.ul([h.li(h.a(name, href=f"#{key}")) for key, name in _JUMPS]), aria_label="On this page", class_="jumps"
        ),
        h.section(
            h.div(
                h.h2("Rates of real bookings", id="rates-heading"),
                h.p("Dashed: the objective. Band: what chance leaves open. Grey: no data.", class_="aside"),
                class_="heading",
            ),
            h.div(
                [
                    h.article(
                        h.div(
                            h.h3(SLI_TITLES[sli]),
                            h.p(f"objective {percent(facts.objectives.ratios[sli])}", class_="aside"),
                            class_="heading",
                        ),
                        part(f"rate-{sli.value}"),
                        part(f"plots-{sli.value}"),
                        class_="card",
                    )
                    for sli in SLIS
                ],
                class_="cards",
            ),
            aria_labelledby="rates-heading",
            id="rates",
        ),
        h.div(
            h.div(part("overdue"), part("deliveries"), class_="column"),
            h.div(part("pages"), part("canary"), part("incidents"), class_="column"),
            class_="columns",
        ),
        title=title(found, facts),
        now=facts.now,
        level=found.level,
        environment=facts.environment,
        live="stream",
        signed_in=signed_in,
    )


_JUMPS = (
    ("rates", "Rates"),
    ("overdue", "Overdue"),
    ("deliveries", "Deliveries"),
    ("pages", "Pages"),
    ("canary", "Canary"),
    ("incidents", "Incidents"),
)


def title(found: Verdict, facts: Facts) -> str:
    """What the browser's tab says."""
    return f"{found.headline} · {facts.environment} · Booking Monitor"


def sections(facts: Facts) -> Sections:
    """All parts that are kept up to date, but for the plots."""
    parts = {
        "verdict": _verdict(verdict(facts)),
        "truth": _truth(facts),
        "notices": _notices(facts),
        "firing": _firing(facts),
        "overdue": _overdue(facts),
        "deliveries": _deliveries(facts),
        "canary": _canary(facts),
        "pages": _pages(facts),
        "incidents": _incidents(facts),
    }
    parts |= {f"rate-{sli.value}": _rate(facts, sli) for sli in SLIS}
    return {key: part.text for key, part in parts.items()}


def plots(facts: Facts) -> Sections:
    """The plots of each SLI, which change by the minute."""
    return {key: _plots(facts, sli).text for key, sli in zip(PLOTS, SLIS, strict=True)}


def _verdict(found: Verdict) -> Html:
    return h.div(
        h.h1(found.headline),
        h.ul([h.li(note) for note in found.notes], class_="notes") if found.notes else None,
        class_=f"verdict {found.level.value}",
    )


def _truth(facts: Facts) -> Html:
    judged: Node = "No bookings judged yet"
    if facts.judged_at is not None:
        judged = ["Bookings judged ", ago(facts.judged_at, facts.now)]
    return h.p(judged, ", ledger read at ", at(facts.snapshot.at, facts.now))


def _notices(facts: Facts) -> Html:
    """What makes the rest of the page mean something else."""
    found: list[tuple[Level, Node]] = []
    if facts.faults:
        since = facts.judged_at or facts.snapshot.at
        age: Node = ["Old truth: the numbers below are from ", at(since, facts.now), ", ", ago(since, facts.now), ". "]
        found.append((Level.BAD, [h.strong(age), "; ".join(facts.faults).capitalize(), ". Alerts are frozen."]))
    if facts.drill:
        found.append((Level.WARN, [h.strong("Drill. "), "Every page is marked as one."]))
    found += [
        (
            Level.WARN,
            [
                h.strong("Maintenance: "),
                window.reason,
                f", until {clock(window.ends, facts.now)}. ",
                ", ".join(sorted(window.alerts)) or "All alerts",
                " frozen.",
            ],
        )
        for window in facts.objectives.maintenance
        if window.at(facts.now)
    ]
    if not facts.channels:
        found.append(
            (Level.WARN, [h.strong("Nobody is woken. "), "No channel for pages is set up: alerts show only here."])
        )
    return join([h.p(text, class_=f"notice {level.value}") for level, text in found])


def _firing(facts: Facts) -> Html:
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
            h.span("firing ", ago(incident.fired_at, now), class_="aside"),
            class_="heading",
        ),
        h.h3(h.a(unbroken(content.summary), href=f"/incidents/{incident.number}")),
        pieces.cause(content),
        pieces.evidence(content, now, samples=SHOWN_SAMPLES),
        pieces.links(content),
        class_=f"incident {incident.level.value}",
    )


_SHOWN_WINDOWS = ((Window.M5, "5 min"), (Window.H1, "1 hour"), (Window.H24, "24 hours"))


def _rate(facts: Facts, sli: Stage) -> Html:
    figures = []
    for window, name in _SHOWN_WINDOWS:
        count, level = facts.count(sli, Traffic.REAL, window), facts.level(sli, window)
        told = f"{count.bad:,} of {count.events:,} bad" if count.events else None
        figures.append(
            h.div(
                h.dt(name),
                h.dd(
                    h.span(share(count), class_=f"figure {level.value}"), h.span(told, class_="sub") if told else None
                ),
            )
        )
    return h.dl(figures, class_="figures")


def _plots(facts: Facts, sli: Stage) -> Html:
    objective, end = facts.objectives.ratios[sli], facts.series_at
    hour_minutes, day_minutes = (minutes * spans for minutes, spans in (HOUR_SPANS, DAY_SPANS))
    return join(
        [
            h.figure(
                h.figcaption(caption),
                plot(series[sli], objective, _axis(end, minutes * MINUTE), f"{SLI_TITLES[sli]}, {caption.lower()}"),
            )
            for caption, series, minutes in (
                ("Last hour, by 5 minutes", facts.hour, hour_minutes),
                ("Last 24 hours, by the half hour", facts.day, day_minutes),
            )
        ]
    )


def _axis(end: int, span: int) -> Axis:
    left = minute_of_day(end - span) if span < DAY else f"{minute_of_day(end - span)} yesterday"
    return Axis(left, minute_of_day(end - span // 2), minute_of_day(end))


def _overdue(facts: Facts) -> Html:
    by_stage = facts.overdue(Traffic.REAL)
    if not by_stage:
        return pieces.panel(
            "overdue", "Overdue bookings", pieces.nothing("None: every real booking has what it is due.")
        )
    at_risk = ", ".join(money(minor, currency) for currency, minor in sorted(facts.snapshot.revenue_at_risk.items()))
    rows = facts.reading.overdue
    return pieces.panel(
        "overdue",
        "Overdue bookings",
        h.p(
            h.strong(", ".join(f"{count:,} without {words(stage.value)}" for stage, count in by_stage.items())),
            f", {at_risk} at risk." if at_risk else ".",
        ),
        h.ul(
            [
                h.li(
                    h.p(booking_link(one.id), class_="row-head"),
                    h.p(
                        "due ",
                        ago(min(row["due_at"] for row in one.stages), facts.now),
                        " · provider ",
                        h.code(safe_id(one.provider_id)),
                        _repairs(sum(row["repairs"] for row in one.stages)),
                        class_="muted",
                    ),
                    pieces.stage_chips(one.stages),
                )
                for one in rows
            ],
            class_="rows",
        ),
        aside=f"{len(rows)} due the longest" if max(by_stage.values()) > len(rows) else None,
    )


def _repairs(count: int) -> str | None:
    return f" · {number(count, 'repair')} tried" if count else None


def _deliveries(facts: Facts) -> Html:
    counts = facts.snapshot.deliveries
    totals = {state: sum(n for (_, one), n in counts.items() if one is state) for state in _DELIVERY_LEVELS}
    if not any(totals.values()):
        nothing = pieces.nothing("None: every delivery is acknowledged.")
        return pieces.panel("deliveries", "Deliveries not acknowledged", nothing)
    return pieces.panel(
        "deliveries",
        "Deliveries not acknowledged",
        h.ul(
            [
                h.li(f"{total:,} {_DELIVERY_WORDS[state]}", class_=f"chip {_DELIVERY_LEVELS[state].value}")
                for state, total in totals.items()
                if total
            ],
            class_="chips",
        ),
        h.ul(
            [
                h.li(
                    h.p(
                        booking_link(row["booking_id"]),
                        pieces.badge("canary", Level.IDLE) if row["traffic"] == Traffic.CANARY.value else None,
                        class_="row-head",
                    ),
                    h.p(
                        f"{words(row['stage'])}, {_DELIVERY_WORDS[DeliveryState(row['state'])]}",
                        f" · {number(row['attempts'], 'attempt')}",
                        f" · next {until(row['next_attempt_at'], facts.now)}" if row["next_attempt_at"] else None,
                        class_="muted",
                    ),
                    h.p(row["last_error"], class_="muted error") if row["last_error"] else None,
                )
                for row in facts.reading.deliveries
            ],
            class_="rows",
        ),
        aside="the latest" if sum(totals.values()) > len(facts.reading.deliveries) else None,
    )


_DELIVERY_LEVELS = {
    DeliveryState.RETRYING: Level.WARN,
    DeliveryState.DEAD: Level.BAD,
    DeliveryState.PENDING: Level.IDLE,
}
_DELIVERY_WORDS = {
    DeliveryState.RETRYING: "being retried",
    DeliveryState.DEAD: "given up",
    DeliveryState.PENDING: "waiting",
}


def _pages(facts: Facts) -> Html:
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


def _canary(facts: Facts) -> Html:
    snapshot = facts.snapshot
    last = snapshot.marks.get(Mark.CANARY_SUCCEEDED)
    if last is None and not snapshot.canary_runs:
        return pieces.panel("canary", "Canary", pieces.nothing("No canary has run yet."))
    failed = snapshot.canary_failures
    state: Node = (
        pieces.badge("passing", Level.GOOD) if failed == 0 else pieces.badge(f"{failed} failed in a row", Level.BAD)
    )
    overdue = facts.overdue(Traffic.CANARY)
    return pieces.panel(
        "canary",
        "Canary",
        h.p("Last success ", ago(last, facts.now) if last is not None else "never", "."),
        h.ul(
            [h.li(_run(run.id, run.created_at, facts.now, good=run.good)) for run in facts.reading.canaries],
            class_="runs",
        )
        if facts.reading.canaries
        else None,
        h.p("Last hour: ", unbroken(" · ".join(_canary_rate(facts, sli) for sli in SLIS)), "."),
        h.p(
            f"{snapshot.canary_runs.get(CanaryResult.OK, 0):,} passed and"
            f" {snapshot.canary_runs.get(CanaryResult.FAILED, 0):,} failed so far",
            f", {number(max(overdue.values()), 'canary booking')} overdue." if overdue else ".",
            class_="muted",
        ),
        aside=state,
    )


def _canary_rate(facts: Facts, sli: Stage) -> str:
    count = facts.count(sli, Traffic.CANARY, Window.H1)
    return f"{words(sli.value)} {share(count)}{f' of {count.events:,}' if count.events else ''}"


_RUN_MARKS = {True: ("✓", "passed", Level.GOOD), False: ("✗", "failed", Level.BAD), None: ("…", "open", Level.IDLE)}


def _run(booking_id: str, created_at: int, now: int, *, good: bool | None) -> Html:
    mark, word, level = _RUN_MARKS[good]
    told = f"{word}, {clock(created_at, now)}"
    return h.a(
        mark, href=f"/bookings/{booking_id}", class_=f"run {level.value}", aria_label=f"Canary {told}", title=told
    )


def _incidents(facts: Facts) -> Html:
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
