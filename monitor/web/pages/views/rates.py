"""The rates of real bookings: now as figures, and over time as plots."""

from __future__ import annotations

from monitor.domain.ledger import Count
from monitor.domain.times import DAY, MINUTE
from monitor.domain.vocabulary import SLIS, Stage, Traffic, Window
from monitor.store.status import Series
from monitor.web.pages.facts import Facts
from monitor.web.pages.formats import (
    SLI_TITLES,
    minute_of_day,
    share,
)
from monitor.web.pages.html import Html, h, join
from monitor.web.pages.plots import Axis, plot

HOUR_SPANS = (5, 12)
"""Minutes of a span, and spans, of the plot of the last hour."""
DAY_SPANS = (30, 48)
"""The same of the plot of the last day."""


def nothing_yet(spans: int) -> Series:
    """A series before it is read."""
    return {sli: (Count(),) * spans for sli in SLIS}


_SHOWN_WINDOWS = ((Window.M5, "5 min"), (Window.H1, "1 hour"), (Window.H24, "24 hours"))


def figures(facts: Facts, sli: Stage) -> Html:
    """The share of good ones in each window, with its counts."""
    shown = []
    for window, name in _SHOWN_WINDOWS:
        count, level = facts.count(sli, Traffic.REAL, window), facts.level(sli, window)
        told = f"{count.bad:,} of {count.events:,} bad" if count.events else None
        shown.append(
            h.div(
                h.dt(name),
                h.dd(
                    h.span(share(count), class_=f"figure {level.value}"), h.span(told, class_="sub") if told else None
                ),
            )
        )
    return h.dl(shown, class_="figures")


def plots(facts: Facts, sli: Stage) -> Html:
    """The last hour and the last day."""
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
