"""Which pages an incident calls for, and what follows from how they fare. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from monitor.alerting.channels import PAGE_RETRIES, SendResult, SendStatus
from monitor.alerting.payload import IncidentReport, build, report_dedup_key
from monitor.domain.objectives import AlertKey, Objectives
from monitor.domain.times import milliseconds
from monitor.domain.vocabulary import AlertName, PageAction, PageChannel, PageState
from monitor.store.alerts import LastWord, PlannedPage

RESENDING = frozenset({PageChannel.ALERTMANAGER})
"""Channels that are told of an alert again and again anyway, and forget what they are not told."""


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


def reminders_due(
    said: Iterable[LastWord], routed: Collection[PageChannel], repeat_every: int | None, now: int
) -> tuple[PageChannel, ...]:
    """Which channels are to be reminded of an incident that nobody has acknowledged.

    `said` is the last word of it by each channel. A page that is not accepted yet, or was given up, needs none: the
    one will still be sent, and of the other somebody is told.
    """
    if repeat_every is None:
        return ()
    return tuple(
        word.channel
        for word in said
        if word.channel in routed
        and word.channel not in RESENDING
        and word.state is PageState.SENT
        and word.sent_at is not None
        and now - word.sent_at >= repeat_every
    )


def after(result: SendResult, attempts: int, chance: float) -> tuple[PageState, int | None]:
    """Where a page stands after an attempt, and the milliseconds until the next one, if there is one.

    `attempts` counts this one too. `chance` in [0, 1) spreads the delay.
    """
    if result.accepted:
        return PageState.SENT, None
    if result.status is SendStatus.REJECTED:
        return PageState.DEAD, None
    if not result.attempted:
        return PageState.PENDING, milliseconds(result.retry_after_seconds or 1)
    delay = PAGE_RETRIES.delay(attempts, chance, result.retry_after_seconds)
    return (PageState.DEAD if delay is None else PageState.PENDING), delay
