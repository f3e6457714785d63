"""The ledger's numbers as metrics: one snapshot in, its exposition out."""

from __future__ import annotations

from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

from monitor.domain.ledger import DURATION_BUCKETS, REASONS, Durations, Mark, Snapshot
from monitor.domain.objectives import ALERT_KEYS
from monitor.domain.vocabulary import (
    OUTSTANDING,
    SLIS,
    AlertState,
    AttemptResult,
    CanaryResult,
    DeliveryState,
    Drift,
    PageChannel,
    PageState,
    RepairResult,
    Stage,
    Traffic,
    Window,
)
from monitor.telemetry import catalogue
from monitor.telemetry.exposition import Format, escape, heads, number, prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from monitor.telemetry.catalogue import MetricSpec

LEGACY_FIELDS = ("therapistId", "therapistName", "therapistType")
"""The field names of old clients that are counted when they arrive."""

DELIVERED_STAGES = (Stage.PUSH, Stage.REALTIME)
"""The stages that the outbox delivers."""

MAX_CURRENCIES = 32
"""Currencies that are shown at most: they come with the bookings, and no label may be unbounded."""

_MS = 1000


class _Family:
    """A counter or gauge of the ledger over a closed set of label values."""

    def __init__(self, spec: MetricSpec, combinations: Iterable[tuple[str, ...]]) -> None:
        self.spec = spec
        self._heads = heads(spec)
        self._prefixes = {c: prefix(spec.name, zip(spec.labels, c, strict=True)) for c in combinations}

    def write(self, form: Format, values: Mapping[Any, float]) -> str:
        """Write the values by combination; a combination that has none is 0."""
        get = values.get
        lines = [f"{text}{number(get(combination, 0))}\n" for combination, text in self._prefixes.items()]
        return self._heads[form] + "".join(lines)


class _DurationFamily:
    """The histogram of the ledger."""

    def __init__(self, spec: MetricSpec, combinations: Iterable[tuple[str, ...]]) -> None:
        self._heads = heads(spec)
        bounds = [*(repr(float(bound)) for bound in DURATION_BUCKETS), "+Inf"]
        self._prefixes = {}
        for combination in combinations:
            labels = list(zip(spec.labels, combination, strict=True))
            self._prefixes[combination] = (
                [prefix(f"{spec.name}_bucket", [*labels, ("le", bound)]) for bound in bounds],
                prefix(f"{spec.name}_count", labels),
                prefix(f"{spec.name}_sum", labels),
            )

    def write(self, form: Format, values: Mapping[Any, Durations]) -> str:
        """Write the histograms by combination; exemplars exist in OpenMetrics only."""
        out = [self._heads[form]]
        none = Durations()
        for combination, (buckets, count, total) in self._prefixes.items():
            durations = values.get(combination, none)
            cumulative = list(accumulate(durations.buckets))
            lines = [f"{text}{value}" for text, value in zip(buckets, cumulative, strict=True)]
            if form is Format.OPENMETRICS:
                for i, e in durations.exemplars.items():
                    lines[i] += f' # {{trace_id="{escape(e.trace_id)}"}} {number(e.seconds)} {e.at / _MS}'
            out.append("\n".join(lines))
            out.append(f"\n{count}{cumulative[-1]}\n{total}{number(durations.sum_seconds)}\n")
        return "".join(out)


class _OpenFamily:
    """A gauge of the ledger whose label values are not known beforehand."""

    def __init__(self, spec: MetricSpec) -> None:
        self._spec = spec
        self._heads = heads(spec)

    def write(self, form: Format, values: Mapping[tuple[str, ...], float]) -> str:
        """Write exactly the given values."""
        spec = self._spec
        return self._heads[form] + "".join(
            f"{prefix(spec.name, zip(spec.labels, labels, strict=True))}{number(value)}\n"
            for labels, value in values.items()
        )


class LedgerView:
    """Writes snapshots. All texts but the numbers are made once, so that one takes a fraction of a millisecond."""

    def __init__(self, objectives: Mapping[Stage, float], platforms: Iterable[str]) -> None:
        def family(spec: MetricSpec, *sets: Iterable[str]) -> _Family:
            return _Family(spec, product(*sets))

        self.show_objectives(objectives)
        self._objective = _Family(catalogue.SLI_OBJECTIVE, self._objectives)
        self._snapshot_at = family(catalogue.SNAPSHOT)
        self._events = family(catalogue.SLI_EVENTS, SLIS, Traffic, Window)
        self._bad = family(catalogue.SLI_BAD, SLIS, Traffic, Window)
        self._outcomes = _Family(
            catalogue.SLI_OUTCOMES,
            ((sli, traffic, *pair) for sli in SLIS for traffic in Traffic for pair in REASONS[sli]),
        )
        self._durations = _DurationFamily(catalogue.STAGE_DURATION, product(Stage, Traffic))
        self._bookings = family(catalogue.BOOKINGS, Traffic, tuple(platforms))
        self._legacy_fields = family(catalogue.LEGACY_FIELDS, LEGACY_FIELDS)
        self._overdue = family(catalogue.OVERDUE, Stage, Traffic)
        self._overdue_oldest = family(catalogue.OVERDUE_OLDEST, Stage, Traffic)
        self._revenue = _OpenFamily(catalogue.REVENUE_AT_RISK)
        self._deliveries = family(catalogue.DELIVERIES, DELIVERED_STAGES, (*OUTSTANDING, DeliveryState.DEAD))
        self._attempts = family(catalogue.DELIVERY_ATTEMPTS, DELIVERED_STAGES, AttemptResult)
        self._repairs = family(catalogue.REPAIRS, Stage, RepairResult)
        self._canary_runs = family(catalogue.CANARY_RUNS, CanaryResult)
        self._canary_at = family(catalogue.CANARY_LAST_SUCCESS)
        self._canary_failures = family(catalogue.CANARY_FAILURES)
        self._drift = family(catalogue.SCHEMA_DRIFT, Drift)
        self._expected = family(catalogue.EXPECTED_BOOKINGS, Window)
        self._alerts = _Family(
            catalogue.ALERT_STATE, ((*key.values, state) for key in ALERT_KEYS for state in AlertState)
        )
        self._pages = family(catalogue.PAGES, PageChannel, PageState)
        self._page_oldest = family(catalogue.PAGE_OLDEST, PageChannel, (PageState.PENDING,))
        self._judged_at = family(catalogue.JUDGED)
        self._currencies: set[str] = set()

    def show_objectives(self, objectives: Mapping[Stage, float]) -> None:
        """Write these ratios by SLI from now on."""
        self._objectives = {(sli,): ratio for sli, ratio in objectives.items()}

    def write(self, snapshot: Snapshot | None, form: Format) -> str:
        """Write a snapshot, without the closing `# EOF` of OpenMetrics.

        Before the first one only the objectives and the snapshot's timestamp (0) are written: counters that
        started at 0 and then jumped to the ledger's totals would look like a burst of bookings.
        """
        constant = self._objective.write(form, self._objectives)
        if snapshot is None:
            return constant + self._snapshot_at.write(form, {})
        s, marks = snapshot, snapshot.marks
        late = {k: max(0, s.at - o.oldest_due_at) / _MS for k, o in s.overdue.items() if o.oldest_due_at is not None}
        waiting = {(c, PageState.PENDING): max(0, s.at - at) / _MS for c, at in s.oldest_page_at.items()}
        return "".join(
            (
                constant,
                self._events.write(form, {k: c.events for k, c in s.windows.items()}),
                self._bad.write(form, {k: c.bad for k, c in s.windows.items()}),
                self._outcomes.write(form, s.outcomes),
                self._durations.write(form, s.durations),
                self._bookings.write(form, s.bookings),
                self._legacy_fields.write(form, _by_one_label(s.legacy_fields)),
                self._overdue.write(form, {k: o.bookings for k, o in s.overdue.items()}),
                self._overdue_oldest.write(form, late),
                self._revenue.write(form, self._revenue_by_currency(s.revenue_at_risk)),
                self._deliveries.write(form, s.deliveries),
                self._attempts.write(form, s.delivery_attempts),
                self._repairs.write(form, s.repairs),
                self._canary_runs.write(form, _by_one_label(s.canary_runs)),
                self._canary_at.write(form, {(): marks.get(Mark.CANARY_SUCCEEDED, 0) / _MS}),
                self._canary_failures.write(form, {(): s.canary_failures}),
                self._drift.write(form, _by_one_label(s.drift)),
                self._expected.write(form, _by_one_label(s.expected_bookings)),
                self._alerts.write(form, _by_state(s.alerts)),
                self._pages.write(form, s.pages),
                self._page_oldest.write(form, waiting),
                self._judged_at.write(form, {(): marks.get(Mark.JUDGED, 0) / _MS}),
                self._snapshot_at.write(form, {(): s.at / _MS}),
            )
        )

    def _revenue_by_currency(self, amounts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
        """Keep a currency at 0 once it was seen, so that a graph shows the end of the risk and not a gap."""
        for currency in sorted(amounts, key=lambda c: -amounts[c]):
            if len(self._currencies) < MAX_CURRENCIES:
                self._currencies.add(currency)
        return {(currency,): amounts.get(currency, 0) for currency in sorted(self._currencies)}


def _by_one_label(values: Mapping[Any, float]) -> dict[tuple[Any], float]:
    return {(label,): value for label, value in values.items()}


def _by_state(alerts: Mapping[tuple[str, str, str, str], str]) -> dict[tuple[str, ...], float]:
    """1 for the state of each alert; one of which the ledger has nothing was never anything but inactive."""
    return {(*key.values, alerts.get(key.values, AlertState.INACTIVE)): 1 for key in ALERT_KEYS}
