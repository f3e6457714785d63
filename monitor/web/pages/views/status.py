"""The status page: what is wrong first, then the rates, then the single things."""

from __future__ import annotations

from monitor.alerting.wording import percent
from monitor.domain.vocabulary import (
    SLIS,
)
from monitor.web.pages.facts import Facts, Level, Verdict, verdict
from monitor.web.pages.formats import (
    SLI_TITLES,
    ago,
    at,
    clock,
)
from monitor.web.pages.html import Html, Node, h, join
from monitor.web.pages.views import alerts, canary, layout, outstanding, rates
from monitor.web.pages.views.layout import section

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
        "firing": alerts.firing(facts),
        "overdue": outstanding.overdue(facts),
        "deliveries": outstanding.deliveries(facts),
        "canary": canary.canary(facts),
        "pages": alerts.unsent(facts),
        "incidents": alerts.incidents(facts),
    }
    parts |= {f"rate-{sli.value}": rates.figures(facts, sli) for sli in SLIS}
    return {key: part.text for key, part in parts.items()}


def plots(facts: Facts) -> Sections:
    """The plots of each SLI, which change by the minute."""
    return {key: rates.plots(facts, sli).text for key, sli in zip(PLOTS, SLIS, strict=True)}


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
        age: Node = ["Old numbers: what is below is as of ", at(since, facts.now), ", ", ago(since, facts.now), ". "]
        frozen = " Alerts are frozen." if facts.now - since > facts.objectives.ledger_stale.older_than else None
        found.append((Level.BAD, [h.strong(age), "; ".join(facts.faults).capitalize(), ".", frozen]))
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
