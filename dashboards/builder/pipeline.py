"""*Booking pipeline*, for the engineer on call: is it broken, for whom, why, and since when."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from dashboards.builder import promql
from dashboards.builder.layout import Section, Story, runbook
from dashboards.builder.panels import (
    ALERT_STATES,
    ANY_IS_BAD,
    bars,
    column,
    data_link,
    heat,
    limits,
    lines,
    link,
    now,
    number,
    query,
    rows,
    stale,
    timeline,
)
from dashboards.builder.promql import TRAFFIC, age, ledger, per_minute, select
from dashboards.builder.rates import rate_lines, rate_number
from dashboards.builder.slis import SLIS, Sli
from monitor.domain.vocabulary import AlertName, Window
from monitor.settings import Settings

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard as models

    from monitor.domain.objectives import CriticalTier, Objectives

TRACE_SOURCE = "booking-traces"
"""Uid of the data source of traces (provisioning/datasources/traces.yaml)."""
CANARY_SECONDS: float = Settings.model_fields["canary_interval"].default
"""Seconds between two canaries, where the setting is left as it is."""
EVIDENCE_ENOUGH = 1
EVIDENCE_GROWING = 0.5


def story(promised: Objectives) -> Story:
    """Tell what the engineer on call asks, in that order."""
    return Story(
        "booking-pipeline",
        "Booking pipeline",
        "Do bookings reach their providers? From the state now, down to single deliveries.",
        span="6h",
        refresh="30s",
        sections=[_state(promised), _rates(promised), _causes(), _durations(), _overdue(), _deliveries(), _canary()],
    )


def _state(promised: Objectives) -> Section:
    revenue = ledger("booking_revenue_at_risk", by="currency")
    waiting = ledger("booking_pages", 'state=~"pending|dead"', by="channel, state")
    nothing = f"0 * {ledger('booking_ledger_snapshot_timestamp_seconds')}"
    numbers = [
        number(
            "Alerts firing",
            "Alerts of the built-in evaluator that fire now. No data: nothing is scraped, or the ledger is unread.",
            "none",
            [now(f"sum({promql.firing()})")],
            steps=ANY_IS_BAD,
            links=[link("Status page", "${service}/")],
        ),
        number(
            "Bookings overdue",
            "Bookings past due for a stage and still without evidence, for the stage that has most.",
            "none",
            [now(f"max({ledger('booking_overdue', TRAFFIC, by='stage')})")],
            steps=ANY_IS_BAD,
            links=[runbook(AlertName.OVERDUE)],
        ),
        number(
            "Revenue at risk",
            "Price of the customers' bookings that are overdue now, by currency, in its minor units (cents).",
            "locale",
            [now(f"{revenue}\nor on ()\n{nothing}", "{{currency}}")],
            named=True,
            steps=ANY_IS_BAD,
            links=[runbook(AlertName.OVERDUE)],
        ),
        number(
            "Pages not accepted",
            "Pages that wait for a channel to accept them, or that were given up.",
            "none",
            [now(f"sum({waiting})")],
            steps=ANY_IS_BAD,
            links=[runbook(AlertName.PAGE_UNDELIVERED)],
        ),
        number(
            "Last good canary",
            "Time since a canary booking last went all the way through. No data: none ever did, or canaries are off.",
            "s",
            [now(age("booking_canary_last_success_timestamp_seconds"))],
            steps=limits(1.5 * CANARY_SECONDS, (promised.canary_failing.at_least + 0.5) * CANARY_SECONDS),
            links=[runbook(AlertName.CANARY_FAILING)],
        ),
        number(
            "Age of the truth",
            "Time since due bookings were last judged. While it is old, the rates below are old too and their alerts"
            " are frozen.",
            "s",
            [now(age("booking_ledger_judged_timestamp_seconds"))],
            steps=stale(promised.ledger_stale),
            links=[runbook(AlertName.LEDGER_STALE)],
        ),
    ]
    state = promql.alert_state()
    alerts = [
        rows(
            "State of each alert",
            "Every alert of the built-in evaluator, those that fire first.",
            "none",
            {"State": column(state)},
            order="State",
            states=ALERT_STATES,
            overrides=[data_link("alertname", "Runbook", "${runbooks}/${__value.raw}.md")],
        ),
        timeline(
            "Alerts over time",
            "When which alert was pending (yellow) or firing (red). No data: none was. A gap: nothing scraped.",
            [query(promql.disturbed_alerts(), "{{alertname}} {{sli}} {{traffic}} {{severity}}")],
            states=ALERT_STATES,
        ),
    ]
    return Section("Now", [numbers, alerts])


def _rates(promised: Objectives) -> Section:
    windows = [
        rate_number(sli, window, promql.good_ratio(sli.matcher, f'window="{window}"'))
        for sli in SLIS
        for window in (Window.H1, Window.H24)
    ]
    return Section(
        "Rates against their objectives",
        [windows, [_evidence(sli, promised.critical) for sli in SLIS], [_rate(sli) for sli in SLIS]],
    )


def _evidence(sli: Sli, critical: CriticalTier) -> models.Panel:
    return bars(
        f"{sli.name}: evidence against the objective",
        "How much of the evidence that fires the critical alert each window holds. 0: the objective is met. At 100 %,"
        f" and with at least {critical.min_bad} bad bookings, so many failures are no chance (probability below"
        f" {critical.alpha:g}). No data: no booking became due.",
        "percentunit",
        [now(promql.evidence(critical.alpha, sli.matcher, f'window="{w}"'), w) for w in critical.windows],
        steps=limits(EVIDENCE_GROWING, EVIDENCE_ENOUGH),
        full=EVIDENCE_ENOUGH,
        links=[runbook(sli.alert)],
    )


def _rate(sli: Sli) -> models.Panel:
    charted = f'window=~"{Window.M5}|{Window.H1}|{Window.H24}"'
    return rate_lines(
        f"{sli.name}, over time",
        f"Share of good bookings by window, and the objective (dashed). {sli.good} A gap: no booking became due.",
        [query(promql.good_ratio(sli.matcher, charted), "{{window}}")],
        sli,
    )


def _causes() -> Section:
    outcomes = "booking_sli_outcomes_total"
    traffic = [
        lines(
            "Bookings entered",
            "Bookings that entered the ledger, by platform.",
            "cpm",
            [query(per_minute("booking_bookings_total", TRAFFIC, by="platform"), "{{platform}}")],
            links=[runbook(AlertName.TRAFFIC_ABSENT)],
        ),
        lines(
            "Bookings judged",
            "Bookings that became due and count, good or bad, by SLI.",
            "cpm",
            [
                query(
                    f"sum by (sli) ({per_minute(outcomes, TRAFFIC, promql.COUNTED, by='sli, outcome, reason')})",
                    "{{sli}}",
                )
            ],
            links=[runbook(AlertName.LEDGER_STALE)],
        ),
        lines(
            "Events in the window",
            "Bookings that became due within the last hour: on how many the rates above rest.",
            "none",
            [query(promql.events(f'window="{Window.H1}"'), "{{sli}}")],
        ),
    ]
    causes = [
        lines(
            "Bad bookings by cause",
            "Bookings without evidence at their due time, by SLI, kind of failure and cause.",
            "cpm",
            [
                query(
                    per_minute(outcomes, TRAFFIC, promql.BAD, by="sli, outcome, reason"),
                    "{{sli}}: {{outcome}}, {{reason}}",
                )
            ],
            size=(12, 9),
            stacked=True,
            links=[runbook(sli.alert) for sli in SLIS],
        ),
        rows(
            "Causes in the time range shown",
            "How many bookings each cause made bad between the two ends of the time range; most frequent first.",
            "none",
            {"Bad": column(promql.counted("$__range", promql.BAD, by="sli, outcome, reason"))},
            order="Bad",
            decimals=0,
        ),
    ]
    return Section("Bookings, and what went wrong with them", [traffic, causes])


def _durations() -> Section:
    def buckets(sli: Sli) -> str:
        return select("booking_stage_duration_seconds_bucket", TRAFFIC, f'stage="{sli.stage}"')

    traces = link("Traces of the service", explore_traces())
    maps = [
        heat(
            f"{sli.name}: time to evidence",
            "From a booking's creation to the evidence. Diamonds are single bookings and lead to their traces.",
            f"max by (le) (increase({buckets(sli)}[$__rate_interval]))",
            links=[traces],
        )
        for sli in SLIS
    ]
    quantiles = [
        lines(
            f"{sli.name}: quantiles of the time to evidence",
            "The time within which half, 95 % and 99 % of the bookings had their evidence. A gap: none had any.",
            "s",
            [
                query(
                    f"histogram_quantile({quantile}, max by (le) (rate({buckets(sli)}[$__rate_interval])))",
                    name,
                    exemplars=quantile == 0.99,  # noqa: PLR2004 - once is enough: all three would show the same ones
                )
                for quantile, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ],
            links=[traces],
        )
        for sli in SLIS
    ]
    return Section("How long it takes", [maps, quantiles])


def _overdue() -> Section:
    links = [runbook(AlertName.OVERDUE)]
    panels = [
        lines(
            "Overdue bookings",
            "Bookings past due and still without evidence, by stage.",
            "none",
            [query(ledger("booking_overdue", TRAFFIC, by="stage"), "{{stage}}")],
            links=links,
        ),
        lines(
            "Oldest overdue booking",
            "Time since the oldest overdue booking became due, by stage; 0 when none is.",
            "s",
            [query(ledger("booking_overdue_oldest_seconds", TRAFFIC, by="stage"), "{{stage}}")],
            links=links,
        ),
        lines(
            "Revenue at risk over time",
            "Price of the customers' overdue bookings, by currency, in its minor units. A currency appears with its"
            " first booking at risk.",
            "locale",
            [query(ledger("booking_revenue_at_risk", by="currency"), "{{currency}}")],
            links=links,
        ),
    ]
    return Section("Overdue, and what it may cost", [panels])


def _deliveries() -> Section:
    half = (12, 8)
    outbox = [
        lines(
            "Outbox of deliveries",
            "Deliveries that are not acknowledged, by stage and state. Dead ones were given up.",
            "none",
            [query(ledger("booking_deliveries", by="stage, state"), "{{stage}} {{state}}")],
            size=half,
        ),
        lines(
            "Attempts to deliver",
            "Attempts by stage and result.",
            "cpm",
            [query(per_minute("booking_delivery_attempts_total", by="stage, result"), "{{stage}} {{result}}")],
            size=half,
        ),
    ]
    mending = [
        lines(
            "Repairs",
            "Attempts to make a missing stage good afterwards, by stage and result.",
            "cpm",
            [query(per_minute("booking_repairs_total", by="stage, result"), "{{stage}} {{result}}")],
            size=half,
        ),
        lines(
            "Live subscriptions",
            "Providers' realtime subscriptions that are open now, over the replicas together, by transport.",
            "none",
            [query(f"sum by (transport) ({select('booking_realtime_subscriptions')})", "{{transport}}")],
            size=half,
        ),
    ]
    return Section("Deliveries", [outbox, mending])


def _canary() -> Section:
    links = [runbook(AlertName.CANARY_FAILING)]
    window = f'window="{Window.H1}"'
    failed = ledger("booking_sli_bad", 'traffic="canary"', window, by="sli")
    due = ledger("booking_sli_events", 'traffic="canary"', window, by="sli")
    panels = [
        lines(
            "Canaries",
            "Canary bookings by result.",
            "cpm",
            [query(per_minute("booking_canary_runs_total", by="result"), "{{result}}")],
            links=links,
        ),
        lines(
            "Rates of the canaries",
            "Share of good canary bookings over 1h by SLI, whatever traffic is chosen. A gap: no canary became due.",
            "percentunit",
            [query(f"1 -\n{promql.share(failed, due)}", "{{sli}}")],
            most=1,
            links=links,
        ),
        lines(
            "Time since the last good canary",
            "It grows while canaries fail, and while nobody runs them.",
            "s",
            [query(age("booking_canary_last_success_timestamp_seconds"), "age")],
            links=links,
        ),
    ]
    return Section("Canary", [panels])


def explore_traces() -> str:
    """Grafana's Explore with the traces of the service in the last hour."""
    source = {"type": "tempo", "uid": TRACE_SOURCE}
    search = '{resource.service.name="booking-monitor"}'
    pane = {
        "datasource": TRACE_SOURCE,
        "queries": [{"refId": "A", "datasource": source, "queryType": "traceql", "query": search, "limit": 20}],
        "range": {"from": "now-1h", "to": "now"},
    }
    return "/explore?schemaVersion=1&panes=" + quote(json.dumps({"traces": pane}, separators=(",", ":")), safe="")
