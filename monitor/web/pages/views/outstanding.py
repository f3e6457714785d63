"""What is still owed: overdue bookings, and deliveries that nobody has acknowledged."""

from __future__ import annotations

from monitor.alerting.payload import safe_id
from monitor.domain.vocabulary import DeliveryState, Traffic
from monitor.web.pages.facts import Facts, Level
from monitor.web.pages.formats import (
    ago,
    booking_link,
    money,
    number,
    until,
    words,
)
from monitor.web.pages.html import Html, h
from monitor.web.pages.views import pieces


def overdue(facts: Facts) -> Html:
    """Real bookings that are past due, the longest due first."""
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


def deliveries(facts: Facts) -> Html:
    """The outbox."""
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
