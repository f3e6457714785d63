"""Putting together what a page says: the counts, the diagnosis, the links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monitor.alerting.diagnosis import Diagnosis, diagnose
from monitor.alerting.payload import BookingRef, Cause, IncidentReport, Links
from monitor.domain.alert_conditions import Signals, critical_evidence, warning_evidence
from monitor.domain.alert_lifecycle import Alert
from monitor.domain.ledger import Count, Mark, Snapshot
from monitor.domain.objectives import LEDGER_STALE, AlertKey, Objectives
from monitor.domain.times import HOUR, SECOND
from monitor.domain.traces import trace_id
from monitor.domain.vocabulary import AlertName, Drift, PageState, Reason, Severity, Stage, Traffic, Window
from monitor.store.diagnosis import bad_stages, count_since, last_good
from monitor.store.readers import Readers

LOOKED_AT = 500
"""Bad bookings that a diagnosis reads at most."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a page's reader can look further."""

    status_page: str
    """Without a closing slash."""
    grafana: str | None = None
    trace_url: str | None = None
    """With `{trace_id}` in it."""


class Reporter:
    """Writes the report of an incident from the ledger."""

    def __init__(
        self, *, readers: Readers, objectives: Callable[[], Objectives], environment: str, places: Places, drill: bool
    ) -> None:
        self._readers = readers
        self._read_objectives = objectives
        self._environment = environment
        self._places = places
        self._drill = drill

    @property
    def _objectives(self) -> Objectives:
        return self._read_objectives()

    async def report(
        self,
        key: AlertKey,
        alert: Alert,
        number: int,
        signals: Signals,
        now: int,
        resolved_at: int | None,
    ) -> IncidentReport:
        """The report of an incident as of `now`. Raises StoreUnavailableError."""
        since, count, diagnosis, before = None, Count(), Diagnosis(), None
        sli = Stage(key.sli) if key.sli else None
        traffic = Traffic(key.traffic) if key.traffic else None
        if sli is not None and traffic is not None:
            start = self._spell(key, sli, traffic, alert, signals, now)
            bad = await self._readers.run(bad_stages, sli, traffic, due_after=start, limit=LOOKED_AT)
            diagnosis = diagnose(bad, dict(signals.drift))
            if bad:
                since = bad[0].due_at
                if key.alertname is AlertName.OVERDUE:
                    overdue = signals.snapshot.overdue.get((sli, traffic))
                    count = Count(*[len(bad) if overdue is None else overdue.bookings] * 2)
                else:
                    count = await self._readers.run(count_since, sli, traffic, since=since, now=now)
                good = await self._readers.run(last_good, sli, traffic, bad[0].booking_id)
                before = None if good is None else BookingRef(*good)
        others = self._others(key, signals)
        return IncidentReport(
            number=number,
            alertname=key.alertname,
            severity=key.severity,
            environment=self._environment,
            fired_at=alert.fired_at or now,
            evaluated_at=now,
            resolved_at=resolved_at,
            sli=sli,
            traffic=traffic,
            events=others.events if others else count.events,
            bad=others.bad if others else count.bad,
            since=others.since if others else since,
            objective=self._objectives.ratios.get(sli) if sli else None,
            expected=others.expected if others else None,
            channel=others.channel if others else None,
            cause=others.cause if others and others.cause else diagnosis.cause,
            first_bad=diagnosis.first_bad,
            last_good=before,
            bookings=diagnosis.bookings,
            factor=diagnosis.factor,
            revenue_at_risk=diagnosis.revenue_at_risk or {},
            links=self._links(key, number, diagnosis),
            drill=self._drill,
        )

    def without_store(
        self, fired_at: int, since: int | None, now: int, *, resolved_at: int | None = None
    ) -> IncidentReport:
        """The report of a stale ledger that is made without the store."""
        return IncidentReport(
            number=None,
            alertname=LEDGER_STALE.alertname,
            severity=LEDGER_STALE.severity,
            environment=self._environment,
            fired_at=fired_at,
            evaluated_at=now,
            resolved_at=resolved_at,
            since=since,
            links=self._links(LEDGER_STALE, None, Diagnosis()),
            drill=self._drill,
        )

    def _spell(self, key: AlertKey, sli: Stage, traffic: Traffic, alert: Alert, signals: Signals, now: int) -> int:
        """The instant after which the bad bookings of this alert became due."""
        if key.alertname is AlertName.OVERDUE:
            overdue = signals.snapshot.overdue.get((sli, traffic))
            oldest = overdue.oldest_due_at if overdue else None
            return (oldest or alert.active_at or now) - 1
        objective = self._objectives.ratios[sli]
        counts = signals.counts(sli, traffic)
        if key.severity is Severity.CRITICAL:
            evidence = critical_evidence(counts, objective, self._objectives.critical)
        else:
            evidence = warning_evidence(counts, objective, self._objectives.warning)
        length = (evidence.window if evidence else Window.H1).seconds * SECOND
        return min(now, alert.fired_at or now) - length

    def _others(self, key: AlertKey, signals: Signals) -> _Other | None:
        """The numbers of the alerts that watch no stage's rate."""
        snapshot = signals.snapshot
        match key.alertname:
            case AlertName.CANARY_FAILING:
                return _Other(bad=signals.canary_failures, since=snapshot.marks.get(Mark.CANARY_SUCCEEDED))
            case AlertName.SCHEMA_DRIFT:
                real = snapshot.windows.get((Stage.CHAT_ROOM, Traffic.REAL, Window.H1), Count())
                bad = sum(signals.drift.values())
                legacy = signals.drift.get(Drift.LEGACY_FIELD, 0) > 0
                cause = Cause(Reason.FIELD_MISMATCH, "provider_id", "therapistId" if legacy else None)
                return _Other(max(real.events, bad), bad, snapshot.at - HOUR, cause=cause)
            case AlertName.TRAFFIC_ABSENT:
                window = max(self._objectives.traffic_absent.windows, key=lambda w: signals.expected_bookings.get(w, 0))
                seen = snapshot.windows.get((Stage.CHAT_ROOM, Traffic.REAL, window), Count())
                expected = signals.expected_bookings.get(window)
                return _Other(seen.events, 0, snapshot.at - window.seconds * SECOND, expected)
            case AlertName.LEDGER_STALE:
                return _Other(since=snapshot.marks.get(Mark.JUDGED))
            case AlertName.PAGE_UNDELIVERED:
                return _undelivered(snapshot)
            case _:
                return None

    def _links(self, key: AlertKey, number: int | None, diagnosis: Diagnosis) -> Links:
        places = self._places
        trace = trace_id(diagnosis.traceparent)
        return Links(
            runbook=self._objectives.runbook_url(key.alertname),
            dashboard=None if places.grafana is None else f"{places.grafana}/d/booking-pipeline",
            status_page=f"{places.status_page}/" if number is None else f"{places.status_page}/incidents/{number}",
            trace=None if places.trace_url is None or trace is None else places.trace_url.replace("{trace_id}", trace),
        )


def _undelivered(snapshot: Snapshot) -> _Other:
    """The channel whose oldest page waits longest, or else one that gave up a page."""
    oldest = min(snapshot.oldest_page_at.items(), key=lambda item: item[1], default=None)
    if oldest is not None:
        return _Other(channel=oldest[0].value, since=oldest[1])
    given_up = [channel for (channel, state), count in snapshot.pages.items() if state is PageState.DEAD and count]
    return _Other(channel=given_up[0].value if given_up else None)


@dataclass(frozen=True, slots=True)
class _Other:
    events: int = 0
    bad: int = 0
    since: int | None = None
    expected: float | None = None
    channel: str | None = None
    cause: Cause | None = None
