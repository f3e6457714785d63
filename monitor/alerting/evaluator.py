"""The evaluator: looks at the ledger at intervals, and turns what it finds into incidents and pages.

What it decides stands in pure functions (`domain.alert_conditions`, `alerting.paging`); here they are fed, and
what they say is written in one transaction, so that a kill leaves either all of an evaluation or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from monitor.alerting.incident_changes import IncidentChanges, fired_without_store
from monitor.alerting.reports import Reporter
from monitor.alerting.without_store import Blind, WithoutStore
from monitor.domain.alert_conditions import Signals, Step, advance_all, conditions, is_fresh
from monitor.domain.alert_lifecycle import Alert, Transition
from monitor.domain.ledger import Mark, Snapshot
from monitor.domain.objectives import LEDGER_STALE, AlertKey, Objectives
from monitor.domain.times import SECOND, Now
from monitor.domain.vocabulary import AlertState, PageChannel
from monitor.store.alerts import (
    AlertStore,
    IncidentChange,
    LastWord,
    NumberTakenError,
    RecordEvaluation,
    last_words,
    read_alerts,
)
from monitor.store.handling import end_of
from monitor.store.judging import RecordMark
from monitor.store.leases import Fence, FencedOffError
from monitor.store.readers import Readers
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

_PASSING = (StoreUnavailableError, FencedOffError, NumberTakenError)
"""What may keep an evaluation from being written without a fault in it."""
MARK_INTERVAL = 5 * SECOND
"""Milliseconds after which it is noted again that the alerts are evaluated."""
FOLLOWER_PATIENCE = 15 * SECOND
"""Milliseconds for which a replica that does not lead leaves it to the leader to find the ledger stale."""


class Evaluator:
    """Evaluates every alert."""

    def __init__(
        self,
        *,
        readers: Readers,
        writer: Writer,
        reporter: Reporter,
        objectives: Callable[[], Objectives],
        snapshot: Callable[[], Snapshot | None],
        configured: Collection[PageChannel],
        without_store: WithoutStore,
        now: Now,
    ) -> None:
        self._readers = readers
        self._writer = writer
        self._objectives = objectives
        self._snapshot = snapshot
        self._without_store = without_store
        self._changes = IncidentChanges(
            reporter=reporter, objectives=objectives, configured=configured, without_store=without_store, now=now
        )
        self._now = now
        self._begun_at = now()
        self._marked_at = 0
        self._seen = False
        self.complete_at = self._begun_at
        """When every alert was last evaluated, in milliseconds since the epoch."""

    async def run(self, fence: Fence | None) -> bool:
        """Evaluate once, as the replica that leads, and say whether the store was there. Raises FencedOffError."""
        snapshot = self._snapshot()
        if snapshot is None:
            return False
        try:
            await self._evaluate(snapshot, fence)
        except StoreUnavailableError as error:
            self._look_without_store()
            log.warning("evaluator.store_away", detail=str(error))
            return False
        except NumberTakenError as error:
            log.warning("evaluator.overtaken", detail=str(error))
        return True

    async def follow(self) -> None:
        """See to it, as a replica that does not lead, that somebody learns when the store is away."""
        snapshot = self._snapshot()
        self.complete_at = self._now()
        if snapshot is None or not is_fresh(snapshot, self._objectives(), self._now()):
            self._look_without_store(FOLLOWER_PATIENCE)
            return
        try:
            await self._see_again(snapshot)
        except (StoreUnavailableError, NumberTakenError) as error:
            log.warning("evaluator.not_entered", detail=str(error))

    def _look_without_store(self, patience: int = 0) -> None:
        """Raise the alarm when the store has been away for as long as a ledger may be stale, and nobody knows."""
        objectives, now, snapshot = self._objectives(), self._now(), self._snapshot()
        rule, judged_at = objectives.ledger_stale, self._begun_at
        if snapshot is not None:
            judged_at = max(judged_at, snapshot.marks.get(Mark.JUDGED, 0))
            if snapshot.alerts.get(LEDGER_STALE.values) == AlertState.FIRING.value:
                return
        if now - judged_at <= rule.older_than + rule.timing.hold + patience or self._without_store.blind is not None:
            return
        if not objectives.in_maintenance(LEDGER_STALE.alertname, now):
            self._without_store.begin(Blind(now, judged_at))
            log.error("alert.fired_without_store", alertname=LEDGER_STALE.alertname.value)

    async def _see_again(self, snapshot: Snapshot) -> None:
        """Let the store know of what was raised without it, and the channels of what an earlier start may have."""
        blind = await self._blind_to_enter()
        if blind is not None:
            store = await self._readers.run(read_alerts)
            change = await self._changes.entered(blind, store.next_number, self._signals(snapshot))
            await self._writer.submit(RecordEvaluation({}, (change,), self._now(), None))
            self._without_store.hand_over()
        elif not self._seen:
            self._without_store.end(Blind(self._now(), None))
        self._seen = True

    async def _evaluate(self, snapshot: Snapshot, fence: Fence | None) -> None:
        blind = await self._blind_to_enter()
        store = await self._readers.run(read_alerts)
        if LEDGER_STALE in store.open:
            blind = None  # what is open goes on under a key of its own; after its end this one's is entered
        now, signals = self._now(), self._signals(snapshot)
        held = conditions(signals, self._objectives(), now)
        known = store.alerts if blind is None else {**store.alerts, LEDGER_STALE: fired_without_store(blind)}
        result = advance_all(known, held, self._objectives(), now)
        changes, failed = await self._changed(store, result, held, signals, blind)
        changed = {
            key: alert
            for key, alert in result.alerts.items()
            if key not in failed and alert != store.alerts.get(key, Alert())
        }
        if changed or changes:
            failed |= await self._record(changed, changes, now, fence)
        if not failed:
            self.complete_at = now
        if blind is not None and LEDGER_STALE not in failed:
            self._without_store.hand_over()
        for key, transition in result.transitions:
            log.warning(_EVENTS[transition], **key.labels)
        if held[LEDGER_STALE] is False:
            await self._note_evaluated(store, fence, ended=blind is not None)

    async def _changed(
        self,
        store: AlertStore,
        result: Step,
        held: Mapping[AlertKey, bool | None],
        signals: Signals,
        blind: Blind | None,
    ) -> tuple[dict[AlertKey, IncidentChange], set[AlertKey]]:
        """What becomes of the incidents, and for which alerts that cannot be told: they must not keep the others back.

        An incident that is frozen goes on, and nobody is reminded of it.
        """
        said = await self._last_words(store)
        found: dict[AlertKey, IncidentChange] = {}
        failed: set[AlertKey] = set()
        number = store.next_number
        for key, alert in result.alerts.items():
            incident, firing = store.open.get(key), alert.state is AlertState.FIRING
            entered = blind if key == LEDGER_STALE else None
            change = None
            try:
                if incident is not None and firing:
                    words = said if held[key] else ()
                    change = await self._changes.ongoing(key, alert, incident, signals, words)
                elif incident is not None:
                    change = await self._changes.resolved(key, alert, incident, signals)
                elif firing:
                    change = await self._changes.opened(key, alert, number, signals, entered)
                elif entered is not None:
                    change = await self._changes.entered(entered, number, signals)
            except StoreUnavailableError:
                raise
            except Exception:  # whatever is wrong with this one, somebody must be told of the others
                log.exception("alert.not_evaluated", **key.labels)
                failed.add(key)
            if change is not None:
                found[key] = change
                number += incident is None
        return found, failed

    async def _record(
        self,
        changed: Mapping[AlertKey, Alert],
        changes: Mapping[AlertKey, IncidentChange],
        now: int,
        fence: Fence | None,
    ) -> set[AlertKey]:
        """Write an evaluation at once; if that fails, alert by alert, and give those that could not be written."""
        try:
            await self._writer.submit(RecordEvaluation(changed, tuple(changes.values()), now, fence))
        except _PASSING:
            raise
        except Exception:  # the store refuses something in it: one by one it shows what, and takes the rest
            log.exception("evaluator.not_recorded")
        else:
            return set()
        failed = set()
        for key in {**changed, **changes}:
            state = {key: changed[key]} if key in changed else {}
            change = (changes[key],) if key in changes else ()
            try:
                await self._writer.submit(RecordEvaluation(state, change, now, fence))
            except _PASSING:
                raise
            except Exception:  # as above: the others must be written, and this one is told as failed
                log.exception("alert.not_recorded", **key.labels)
                failed.add(key)
        return failed

    def _signals(self, snapshot: Snapshot) -> Signals:
        return Signals(snapshot, snapshot.canary_failures, snapshot.drift, snapshot.expected_bookings, self._begun_at)

    async def _last_words(self, store: AlertStore) -> tuple[LastWord, ...]:
        if all(incident["acknowledged_at"] is not None for incident in store.open.values()):
            return ()
        return await self._readers.run(last_words)

    async def _blind_to_enter(self) -> Blind | None:
        """The alarm that was raised without the store and that it does not know of yet."""
        unstored = self._without_store
        if unstored.blind is None:
            return None
        await unstored.settle()
        entered = await self._readers.run(end_of, unstored.dedup_key)
        last_said = max(unstored.tried_at.values(), default=unstored.blind.fired_at)
        if entered is not None and (entered["resolved_at"] is None or entered["resolved_at"] > last_said):
            unstored.hand_over()  # by another replica, which ends it for all
        return unstored.blind

    async def _note_evaluated(self, store: AlertStore, fence: Fence | None, *, ended: bool) -> None:
        """Note that somebody looks at a fresh ledger: no alarm raised without the store is left from before.

        Where this was not noted for as long as such an alarm takes to be raised, or where others may have raised it,
        an earlier process may have done so, and was killed. It is noted only once the channels know its end.
        """
        now, unstored = self._now(), self._without_store
        if not self._seen and not ended and unstored.blind is None:
            looked_at = store.evaluated_at
            gap = looked_at is not None and now - looked_at > self._objectives().ledger_stale.older_than
            if gap or fence is not None:
                unstored.end(Blind(looked_at or now, looked_at))
        self._seen = True
        if unstored.blind is None and not unstored.ending and now - self._marked_at >= MARK_INTERVAL:
            await self._writer.submit(RecordMark(Mark.EVALUATED, now, fence))
            self._marked_at = now


_EVENTS = {transition: f"alert.{transition.value}" for transition in Transition}
