"""Which pages an incident calls for. Pure."""

from __future__ import annotations

from collections.abc import Collection

from monitor.alerting.channels import PageAction
from monitor.alerting.payload import IncidentReport, build, report_dedup_key
from monitor.domain.objectives import AlertKey, Objectives
from monitor.domain.vocabulary import AlertName, PageChannel
from monitor.store.alerts import PlannedPage


def plan_pages(
    report: IncidentReport, action: PageAction, channels: Collection[PageChannel]
) -> tuple[PlannedPage, ...]:
    """One page for each channel, with the same content and key."""
    content = build(report).model_dump_json()
    key = report_dedup_key(report)
    return tuple(PlannedPage(channel.value, action.value, key, content) for channel in channels)


def channels_of(
    key: AlertKey,
    objectives: Objectives,
    configured: Collection[PageChannel],
    stuck: Collection[PageChannel],
) -> tuple[PageChannel, ...]:
    """Where the pages of an alert go: as routed; word of a stuck channel goes by the others, if there are any."""
    routed = [channel for channel in objectives.routes[key.severity].channels if channel in configured]
    if key.alertname is not AlertName.PAGE_UNDELIVERED:
        return tuple(routed)
    others = tuple(channel for channel in configured if channel not in stuck)
    return others or tuple(routed)
