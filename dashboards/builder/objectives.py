"""*Booking objectives*, for the owner: what was promised, what was kept, and how fast the rest is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.builder import promql
from dashboards.builder.layout import Section, Story, runbook
from dashboards.builder.panels import (
    ALERT_STATES,
    GREEN,
    RED,
    YELLOW,
    bars,
    column,
    limits,
    lines,
    now,
    number,
    override,
    query,
    rows,
    timeline,
)
from dashboards.builder.promql import OBJECTIVE, REPORTED, select, share
from dashboards.builder.rates import rate_number
from dashboards.builder.slis import SLIS, Sli
from monitor.domain.vocabulary import Window

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard as models

PERIOD = "30d"
"""Over which an error budget is kept."""
BUDGET_LEFT = ((None, RED), (0, YELLOW), (0.25, GREEN))
TWICE_AS_FAST = 2
"""Where the bars of the burn end: twice as fast as the budget allows."""

MONTH_BAD = promql.counted(PERIOD, promql.BAD)
MONTH_EVENTS = promql.counted(PERIOD, promql.COUNTED)


def story() -> Story:
    """Tell what the owner asks, in that order."""
    return Story(
        "booking-objectives",
        "Booking objectives",
        "What share of bookings may fail, how much of it is used up, and what incidents there were.",
        span="30d",
        refresh="5m",
        sections=[_budget(), _burn(), _incidents()],
    )


def _of_sli(sli: Sli) -> tuple[str, str]:
    return (promql.counted(PERIOD, promql.BAD, sli.matcher), promql.counted(PERIOD, promql.COUNTED, sli.matcher))


def budget_left(failed: str, due: str) -> str:
    """Share of the allowed failures that has not happened yet; below 0 when more happened than are allowed."""
    return f"1 -\n{share(failed, due)}\n/ {promql.ALLOWED}"


def _budget() -> Section:
    since = " It counts from the first scrape, where that is not 30 days ago."
    numbers = []
    for sli in SLIS:
        failed, due = _of_sli(sli)
        numbers.append(
            number(
                f"{sli.name}: budget left",
                "Share of the failures allowed over 30 days that has not happened yet. Below 0: the objective is"
                f" missed. No data: no booking became due.{since}",
                "percentunit",
                [now(budget_left(failed, due))],
                steps=BUDGET_LEFT,
                decimals=1,
                links=[runbook(sli.alert)],
            )
        )
        numbers.append(rate_number(sli, PERIOD, f"1 -\n{share(failed, due)}", explained=since))
    course = lines(
        "Error budget left over time",
        "Share of the failures allowed over the 30 days before each point that had not happened by then.",
        "percentunit",
        [query(budget_left(MONTH_BAD, MONTH_EVENTS), "{{sli}}")],
        size=(24, 8),
        least=None,
        most=1,
        interval="6h",
    )
    account = rows(
        "The account of 30 days",
        f"Bookings that became due, those that were bad, and how many may be. A blank: no booking became due.{since}",
        "none",
        {
            "Objective": column(OBJECTIVE),
            "Bookings": column(MONTH_EVENTS),
            "Bad": column(MONTH_BAD),
            "Bad allowed": column(f"{MONTH_EVENTS} * {promql.ALLOWED}"),
            "Budget left": column(budget_left(MONTH_BAD, MONTH_EVENTS)),
        },
        size=(24, 6),
        order="Bad",
        decimals=0,
        overrides=[_percent("Objective"), _percent("Budget left")],
    )
    return Section("Error budget of the last 30 days", [numbers, [account], [course]])


def _percent(name: str) -> models.DashboardFieldConfigSourceOverrides:
    return override("byName", name, unit="percentunit", decimals=1)


def _burn() -> Section:
    speeds = [
        bars(
            f"{sli.name}: burn by window",
            "How many times faster than allowed failures happen: at 1 the budget lasts exactly its 30 days. No data: no"
            " booking became due.",
            "none",
            [now(promql.burn(sli.matcher, f'window="{w}"'), w) for w in promql.REPORTING_WINDOWS],
            steps=limits(TWICE_AS_FAST / 2, TWICE_AS_FAST),
            full=TWICE_AS_FAST,
            links=[runbook(sli.alert)],
        )
        for sli in SLIS
    ]
    courses = [
        lines(
            f"{sli.name}: burn over time",
            "How many times faster than allowed failures happened, by window. Above 1 the objective was missed there. A"
            " gap: no booking became due.",
            "none",
            [query(promql.burn(sli.matcher, f'window=~"{Window.H24}|{Window.H72}"'), "{{window}}")],
            links=[runbook(sli.alert)],
        )
        for sli in SLIS
    ]
    windows = rows(
        "Every window",
        "The exact counts of the ledger by SLI and window of due times. A blank: no booking became due.",
        "none",
        {
            "Bookings": column(promql.events(REPORTED)),
            "Bad": column(promql.bad(REPORTED)),
            "Rate": column(promql.good_ratio(REPORTED)),
            "Burn": column(promql.burn(REPORTED)),
            "Budget left": column(f"1 -\n{promql.burn(REPORTED)}"),
        },
        size=(24, 9),
        order="Burn",
        overrides=[_percent("Rate"), _percent("Budget left"), override("byName", "Burn", decimals=2)],
    )
    return Section("How fast it is spent", [speeds, courses, [windows]])


def _incidents() -> Section:
    firing = select("booking_alert_state", 'state="firing"')
    table = rows(
        "Alerts in the time range shown",
        "In how many spells each alert fired within the time range, and for what share of it it fired.",
        "none",
        {
            "Incidents": column(promql.spells()),
            "Time firing": column(f"max by ({promql.ALERT}) (avg_over_time({firing}[$__range]))"),
        },
        size=(12, 10),
        order="Time firing",
        overrides=[override("byName", "Time firing", unit="percentunit", decimals=2)],
    )
    history = timeline(
        "Alerts over time",
        "When which alert was pending (yellow) or firing (red). No data: none was. A gap: nothing scraped.",
        [query(promql.disturbed_alerts(), "{{alertname}} {{sli}} {{traffic}} {{severity}}")],
        states=ALERT_STATES,
        size=(12, 10),
    )
    return Section("Incidents", [[table, history]])
