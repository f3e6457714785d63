"""What an evaluation changes about incidents: each with its report as of now, and the pages that it calls for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from monitor.alerting.paging import channels_of, plan_pages, reminders_due
from monitor.alerting.payload import build
from monitor.alerting.reports import Reporter
from monitor.alerting.without_store import Blind, WithoutStore
from monitor.domain.alert_conditions import Signals
from monitor.domain.alert_lifecycle import Alert
from monitor.domain.ledger import Snapshot
from monitor.domain.objectives import LEDGER_STALE, AlertKey, Objectives
from monitor.domain.rows import Fields
from monitor.domain.times import SECOND, Now
from monitor.domain.vocabulary import AlertState, PageAction, PageChannel, PageState
from monitor.store.alerts import IncidentChange, LastWord, PlannedPage

REFRESH = 15 * SECOND
"""Milliseconds after which the report of an open incident is written anew."""


class IncidentChanges:
    """Writes the changes. Each method raises StoreUnavailableError when the report cannot be made."""

    def __init__(
        self,
        *,
        reporter: Reporter,
        objectives: Callable[[], Objectives],
        configured: Collection[PageChannel],
        without_store: WithoutStore,
        now: Now,
    ) -> None:
        self._reporter = reporter
        self._objectives = objectives
        self._configured = configured
        self._without_store = without_store
        self._now = now

    async def opened(
        self, key: AlertKey, alert: Alert, number: int, signals: Signals, entered: Blind | None
    ) -> IncidentChange:
        """A new incident; `entered` when it was raised without the store and goes on."""
        report = await self._reporter.report(key, alert, number, signals, self._now(), None)
        if entered is not None:
            report = replace(report, since=entered.since)
        pages = plan_pages(report, PageAction.TRIGGER, self._channels(key, signals.snapshot))
        return IncidentChange(
            number,
            key,
            build(report).model_dump_json(),
            opened=alert,
            pages=pages if entered is None else self._as_said(pages),
            event="fired",
            detail=build(report).summary,
        )

    async def entered(self, blind: Blind, number: int, signals: Signals) -> IncidentChange:
        """The incident of an alarm that was raised without the store, and was over before the store could know."""
        now, unstored = self._now(), self._without_store
        fired = fired_without_store(blind)
        report = await self._reporter.report(LEDGER_STALE, fired, number, signals, now, now)
        report = replace(report, since=blind.since)
        triggers = self._as_said(plan_pages(report, PageAction.TRIGGER, unstored.told))
        resolves = plan_pages(report, PageAction.RESOLVE, unstored.tried_at)
        return IncidentChange(
            number,
            LEDGER_STALE,
            build(report).model_dump_json(),
            opened=fired,
            resolved_at=now,
            pages=(*triggers, *(replace(page, dedup_key=unstored.dedup_key) for page in resolves)),
            event="resolved",
            detail="it fired without the store",
        )

    async def resolved(self, key: AlertKey, alert: Alert, incident: Fields, signals: Signals) -> IncidentChange:
        """An incident that is over."""
        number, resolved_at = incident["number"], alert.resolved_at or self._now()
        fired = Alert(AlertState.FIRING, incident["active_at"], incident["fired_at"])
        report = await self._reporter.report(key, fired, number, signals, self._now(), resolved_at)
        return IncidentChange(
            number,
            key,
            incident["report"] if report.bad == 0 else build(report).model_dump_json(),
            resolved_at=resolved_at,
            pages=plan_pages(report, PageAction.RESOLVE, self._configured),
            event="resolved",
        )

    async def ongoing(
        self, key: AlertKey, alert: Alert, incident: Fields, signals: Signals, said: Iterable[LastWord]
    ) -> IncidentChange | None:
        """An incident that goes on: its report anew, now and then, and a reminder where one is due."""
        remind = reminders_due(
            [word for word in said if word.incident == incident["number"]],
            self._channels(key, signals.snapshot),
            self._objectives().routes[key.severity].repeat_every,
            self._now(),
        )
        if not remind and self._now() - incident["evaluated_at"] < REFRESH:
            return None
        report = await self._reporter.report(key, alert, incident["number"], signals, self._now(), None)
        reminders = plan_pages(replace(report, reminder=True), PageAction.REMINDER, remind)
        return IncidentChange(incident["number"], key, build(report).model_dump_json(), pages=reminders)

    def _channels(self, key: AlertKey, snapshot: Snapshot) -> tuple[PageChannel, ...]:
        return channels_of(key, self._objectives(), self._configured, _stuck(snapshot))

    def _as_said(self, pages: tuple[PlannedPage, ...]) -> tuple[PlannedPage, ...]:
        """The pages of an alarm that left without the store: under its key, and those that were taken, as sent."""
        key, told = self._without_store.dedup_key, self._without_store.told
        return tuple(replace(page, dedup_key=key, sent_at=told.get(PageChannel(page.channel))) for page in pages)


def fired_without_store(blind: Blind) -> Alert:
    """The alert of a spell in which the store was away, as the store would have it."""
    return Alert(AlertState.FIRING, blind.since or blind.fired_at, blind.fired_at)


def _stuck(snapshot: Snapshot) -> set[PageChannel]:
    """Channels with a page that is waiting or was given up."""
    dead = {channel for (channel, state), count in snapshot.pages.items() if state is PageState.DEAD and count}
    return dead | set(snapshot.oldest_page_at)
