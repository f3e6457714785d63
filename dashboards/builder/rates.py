"""Panels about a rate and its objective, which stands in the metric `booking_sli_objective_ratio` and nowhere here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.builder import promql
from dashboards.builder.layout import runbook
from dashboards.builder.panels import GREEN, RED, fixed, lines, now, number, override, query

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard as models
    from grafana_foundation_sdk.models import prometheus

    from dashboards.builder.slis import Sli

OBJECTIVE_STYLE = {
    "color": {"mode": "fixed", "fixedColor": "orange"},
    "custom_lineStyle": {"fill": "dash", "dash": [8, 6]},
    "custom_lineWidth": 2,
}


def rate_number(sli: Sli, window: str, ratio: str, *, explained: str = "") -> models.Panel:
    """Show a rate as one number: green while it meets its objective, red while it does not.

    `ratio` is labelled with `sli`. The comparison stands in the queries, of which one at most has an answer.
    """
    met = f"(\n{ratio}\n)\n>= on (sli) group_left () {promql.OBJECTIVE}"
    missed = f"(\n{ratio}\n)\n< on (sli) group_left () {promql.OBJECTIVE}"
    return number(
        f"{sli.name}, {window}",
        f"Share of good bookings over {window}. {sli.good} Green: the objective is met. Red: it is not."
        f" No data: no booking became due.{explained}",
        "percentunit",
        [now(met), now(missed)],
        decimals=2,
        overrides=[fixed("byFrameRefID", "A", GREEN), fixed("byFrameRefID", "B", RED)],
        links=[runbook(sli.alert)],
    )


def rate_lines(title: str, description: str, queries: list[prometheus.Dataquery], sli: Sli) -> models.Panel:
    """Show rates over time with their objective as a dashed line."""
    return lines(
        title,
        description,
        "percentunit",
        [*queries, query(promql.ledger("booking_sli_objective_ratio", sli.matcher), "objective")],
        least=None,
        most=1,
        overrides=[override("byName", "objective", **OBJECTIVE_STYLE)],
        links=[runbook(sli.alert)],
    )
