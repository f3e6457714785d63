"""The evaluator: looks at the ledger at intervals, and turns what it finds into incidents and pages.

What it decides stands in pure functions (`domain.alert_conditions`, `alerting.paging`); here they are fed, and
what they say is written in one transaction, so that a kill leaves either all of an evaluation or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from monitor.alerting.channels import Page, PageAction
from monitor.alerting.paging import channels_of, plan_pages
from monitor.alerting.payload import PageContent, build, report_dedup_key
from monitor.alerting.reports import Reporter
from monitor.domain.alert_conditions import Signals, step
from monitor.domain.alert_lifecycle import Alert, Transition
from monitor.domain.ledger import Mark, Snapshot
from monitor.domain.objectives import LEDGER_STALE, AlertKey, Objectives
from monitor.domain.rows import Fields
from monitor.domain.times import Now
from monitor.domain.vocabulary import AlertState, PageChannel, PageState
from monitor.store.alerts import AlertStore, IncidentChange, RecordEvaluation, read_alerts
from monitor.store.leases import Fence
from monitor.store.readers import Readers
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

REFRESH = 15_000
"""Milliseconds after which the report of an open incident is written anew."""


@dataclass(frozen=True, slots=True)
class Blind:
    """An alarm that the store could not be told of: the ledger is stale because the store is away."""

    number: int
    fired_at: int
    since: int | None


class Evaluator:
    """Evaluates every alert; used by the replica that leads."""

    def __init__(
        self,
        *,
        readers: Readers,
        writer: Writer,
        reporter: Reporter,
        objectives: Callable[[], Objectives],
        snapshot: Callable[[], Snapshot | None],
        configured: Collection[PageChannel],
        now: Now,
    ) -> None:
        self._readers = readers
        self._writer = writer
        self._reporter = reporter
        self._objectives = objectives
        self._snapshot = snapshot
        self._configured = configured
        self._now = now
        self._begun_at = now()
        self._next_number = 1
        self.blind: Blind | None = None
        """Set while the store is away for so long that somebody has to know."""

    async def run(self, fence: Fence | None) -> None:
        """Evaluate once. Raises FencedOffError; a store that is away is an alarm of its own, see `blind`."""
        snapshot = self._snapshot()
        if snapshot is None:
            return
        try:
            await self._evaluate(snapshot, fence)
        except StoreUnavailableError as error:
            self.look_without_store()
            log.warning("evaluator.store_away", detail=str(error))
        else:
            self.blind = None

    def look_without_store(self) -> None:
        """Raise the alarm when the store has been away for as long as a ledger may be stale."""
        objectives, now, snapshot = self._objectives(), self._now(), self._snapshot()
        rule = objectives.ledger_stale
        judged_at = self._begun_at
        if snapshot is not None:
            judged_at = max(judged_at, snapshot.marks.get(Mark.JUDGED, 0))
        if now - judged_at <= rule.older_than + rule.timing.hold or self.blind is not None:
            return
        if objectives.in_maintenance(LEDGER_STALE.alertname, now):
            return
        self.blind = Blind(self._next_number, now, judged_at)
        log.error("alert.fired_without_store", alertname=LEDGER_STALE.alertname.value)

    def blind_page(self) -> Page | None:
        """The page of the alarm that the store could not be told of; the same each time, but for its time."""
        blind = self.blind
        if blind is None:
            return None
        report = self._reporter.blind(blind.number, blind.fired_at, blind.since, self._now())
        return Page(
            f"blind-{blind.number}", PageAction.TRIGGER, report_dedup_key(report), build(report), report.evaluated_at
        )

    async def _evaluate(self, snapshot: Snapshot, fence: Fence | None) -> None:
        store = await self._readers.run(read_alerts)
        self._next_number = store.next_number
        signals = Signals(snapshot, snapshot.canary_failures, snapshot.drift, snapshot.expected_bookings)
        objectives, now = self._objectives(), self._now()
        known = self._with_blind(store)
        result = step(known, signals, objectives, now)
        changes: list[IncidentChange] = []
        number = store.next_number
        # The alarm that was raised without the store comes first: the number that it was told under is still free.
        for key, alert in sorted(result.alerts.items(), key=lambda item: item[0] != LEDGER_STALE):
            unstored = self.blind if key == LEDGER_STALE and key not in store.open else None
            if key not in store.open and alert.state is AlertState.FIRING:
                changes.append(await self._open(key, alert, number, signals, objectives))
                number += 1
            elif unstored is not None:
                changes.append(await self._open_and_resolve(unstored, alert, number, signals, objectives))
                number += 1
            elif key in store.open and alert.state is not AlertState.FIRING:
                changes.append(await self._resolve(key, alert, store.open[key], signals))
            elif key in store.open and now - store.open[key]["evaluated_at"] >= REFRESH:
                changes.append(await self._refresh(key, alert, store.open[key], signals))
        changed = {key: alert for key, alert in result.alerts.items() if alert != store.alerts.get(key, Alert())}
        if changed or changes:
            await self._writer.submit(RecordEvaluation(changed, tuple(changes), now, fence))
        for key, transition in result.transitions:
            log.warning(_EVENTS[transition], **key.labels)

    def _with_blind(self, store: AlertStore) -> dict[AlertKey, Alert]:
        """What is stored, and the alarm that could not be stored while the store was away."""
        known = dict(store.alerts)
        if self.blind is not None and LEDGER_STALE not in store.open:
            fired_at = self.blind.fired_at
            known[LEDGER_STALE] = Alert(AlertState.FIRING, self.blind.since or fired_at, fired_at)
        return known

    async def _open(
        self, key: AlertKey, alert: Alert, number: int, signals: Signals, objectives: Objectives
    ) -> IncidentChange:
        report = await self._reporter.report(key, alert, number, signals, self._now(), None)
        channels = channels_of(key, objectives, self._configured, _stuck(signals.snapshot))
        return IncidentChange(
            number,
            key,
            build(report).model_dump_json(),
            opened=alert,
            pages=plan_pages(report, PageAction.TRIGGER, channels),
            event="fired",
            detail=build(report).summary,
        )

    async def _open_and_resolve(
        self, blind: Blind, alert: Alert, number: int, signals: Signals, objectives: Objectives
    ) -> IncidentChange:
        """The incident of an alarm that was raised without the store, and was over before the store could know."""
        fired = Alert(AlertState.FIRING, blind.since or blind.fired_at, blind.fired_at)
        change = await self._open(LEDGER_STALE, fired, number, signals, objectives)
        resolved_at = alert.resolved_at or self._now()
        report = await self._reporter.report(LEDGER_STALE, fired, number, signals, self._now(), resolved_at)
        pages = plan_pages(report, PageAction.RESOLVE, self._configured)
        return replace(
            change, resolved_at=resolved_at, pages=pages, event="resolved", detail="it fired without the store"
        )

    async def _resolve(self, key: AlertKey, alert: Alert, incident: Fields, signals: Signals) -> IncidentChange:
        number, resolved_at = incident["number"], alert.resolved_at or self._now()
        fired = Alert(AlertState.FIRING, incident["active_at"], incident["fired_at"])
        report = await self._reporter.report(key, fired, number, signals, self._now(), resolved_at)
        channels = tuple(self._configured)
        return IncidentChange(
            number,
            key,
            incident["report"] if report.bad == 0 else build(report).model_dump_json(),
            resolved_at=resolved_at,
            pages=plan_pages(report, PageAction.RESOLVE, channels),
            event="resolved",
        )

    async def _refresh(self, key: AlertKey, alert: Alert, incident: Fields, signals: Signals) -> IncidentChange:
        report = await self._reporter.report(key, alert, incident["number"], signals, self._now(), None)
        return IncidentChange(incident["number"], key, build(report).model_dump_json())


_EVENTS = {transition: f"alert.{transition.value}" for transition in Transition}


def _stuck(snapshot: Snapshot) -> set[PageChannel]:
    """Channels with a page that is waiting or was given up."""
    dead = {channel for (channel, state), count in snapshot.pages.items() if state is PageState.DEAD and count}
    return dead | set(snapshot.oldest_page_at)


def content_of(text: str) -> PageContent:
    """The content of a page, as the outbox keeps it."""
    return PageContent.model_validate_json(text)
