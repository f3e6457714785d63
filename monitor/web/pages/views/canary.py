"""The canary: whether it comes through, and the last ones one by one."""

from __future__ import annotations

from monitor.domain.ledger import Mark
from monitor.domain.vocabulary import SLIS, CanaryResult, Stage, Traffic, Window
from monitor.web.pages.facts import Facts, Level
from monitor.web.pages.formats import (
    ago,
    clock,
    number,
    share,
    unbroken,
    words,
)
from monitor.web.pages.html import Html, Node, h
from monitor.web.pages.views import pieces


def canary(facts: Facts) -> Html:
    """The panel."""
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
