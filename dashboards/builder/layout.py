"""What the dashboards share as wholes: variables, links between them, and the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from grafana_foundation_sdk.models import dashboard as models

from dashboards.builder.panels import SOURCE, link

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monitor.domain.vocabulary import AlertName

TAG = "booking-monitor"
GRID_WIDTH = 24
"""Columns of Grafana's grid."""


class Section(NamedTuple):
    """Part of a story: a heading, and lines of panels from left to right."""

    title: str
    lines: Sequence[Sequence[models.Panel]]


@dataclass(frozen=True, slots=True)
class Story:
    """A dashboard before it is laid out: for whom, and what it tells, from large to small."""

    uid: str
    title: str
    description: str
    span: str
    """How far back it shows at first, such as `6h`."""
    refresh: str
    """How often it asks anew, such as `30s`."""
    sections: Sequence[Section]


def runbook(alert: AlertName | str) -> models.DashboardLink:
    """Lead from a panel to what to do about it."""
    return link(f"Runbook {alert}", f"${{runbooks}}/{alert}.md")


def place(sections: Iterable[Section]) -> list[models.Panel | models.RowPanel]:
    """Give every panel its place and its id: sections below each other, lines as high as their highest panel.

    Raises ValueError for a line that does not fill the width of the grid.
    """
    placed: list[models.Panel | models.RowPanel] = []
    y = 0
    for title, lines in sections:
        heading = models.RowPanel(title=title, grid_pos=models.GridPos(x=0, y=y, w=GRID_WIDTH, h=1))
        placed.append(heading)
        y += 1
        for line in lines:
            x = height = 0
            for panel in line:
                size = panel.grid_pos or models.GridPos()
                panel.grid_pos = models.GridPos(x=x, y=y, w=size.w, h=size.h)
                x += size.w
                height = max(height, size.h)
                placed.append(panel)
            if x != GRID_WIDTH:
                raise ValueError(f"section {title!r}: a line of panels is {x} columns wide, not {GRID_WIDTH}")
            y += height
    for number, item in enumerate(placed, start=1):
        item.id_val = number
    return placed


def assemble(story: Story, *, service: str, runbooks: str) -> models.Dashboard:
    """Make a dashboard. `service` and `runbooks` are base URLs without a slash at their end."""
    return models.Dashboard(
        uid=story.uid,
        title=story.title,
        description=story.description,
        tags=[TAG],
        editable=False,
        graph_tooltip=models.DashboardCursorSync.CROSSHAIR,
        time=models.DashboardDashboardTime(from_val=f"now-{story.span}", to="now"),
        timezone="browser",
        refresh=story.refresh,
        panels=place(story.sections),
        templating=models.DashboardDashboardTemplating(list_val=_variables(service, runbooks)),
        annotations=models.AnnotationContainer(list_val=[]),
        links=[
            models.DashboardLink(
                title="Booking Monitor",
                type_val=models.DashboardLinkType.DASHBOARDS,
                tags=[TAG],
                include_vars=True,
                keep_time=True,
            ),
            link("Status page", "${service}/"),
            link("Alerts in Grafana", "/alerting/list"),
        ],
    )


def _variables(service: str, runbooks: str) -> list[models.VariableModel]:
    return [
        models.VariableModel(
            type_val=models.VariableType.DATASOURCE,
            name="datasource",
            label="Data source",
            description="The Prometheus that scrapes Booking Monitor.",
            query="prometheus",
            refresh=models.VariableRefresh.ON_DASHBOARD_LOAD,
        ),
        _query(
            "job",
            "Job",
            "The scrape job: one for each installation. Two chosen together are shown as one.",
            "label_values(booking_sli_objective_ratio, job)",
            multi=True,
            all_value=".+",
        ),
        _query(
            "instance",
            "Instance",
            "The replicas. All show the same ledger; the numbers of a process are its own.",
            'label_values(booking_sli_objective_ratio{job=~"$job"}, instance)',
            multi=True,
            include_all=True,
            all_value=".+",
            current=models.VariableOption(text=["All"], value=["$__all"]),
        ),
        _query(
            "traffic",
            "Traffic",
            "Whose bookings: customers' or the canary's. Never both at once: a healthy canary would hide lost ones.",
            'label_values(booking_sli_events{job=~"$job"}, traffic)',
            current=models.VariableOption(text="real", value="real"),
        ),
        _constant("service", service),
        _constant("runbooks", runbooks),
    ]


def _query(
    name: str,
    label: str,
    description: str,
    query: str,
    *,
    multi: bool = False,
    include_all: bool = False,
    all_value: str | None = None,
    current: models.VariableOption | None = None,
) -> models.VariableModel:
    return models.VariableModel(
        type_val=models.VariableType.QUERY,
        name=name,
        label=label,
        description=description,
        query=query,
        definition=query,
        datasource=SOURCE,
        refresh=models.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=models.VariableSort.ALPHABETICAL_ASC,
        multi=multi,
        include_all=include_all,
        all_value=all_value,
        current=current,
    )


def _constant(name: str, value: str) -> models.VariableModel:
    return models.VariableModel(
        type_val=models.VariableType.CONSTANT,
        name=name,
        query=value,
        hide=models.VariableHide.HIDE_VARIABLE,
        skip_url_sync=True,
    )
