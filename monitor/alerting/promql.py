"""The evaluator's decisions, said in PromQL.

Three things need care, and every expression gets them from the same few functions here:

- Replicas show the same ledger, but one that lost the ledger goes on showing old numbers. Only replicas whose
  numbers were judged a moment ago are read (`fresh`), with `max` over them.
- On stale truth, and in a maintenance window, nothing may fire or resolve (`frozen`): an expression then holds
  for exactly what its alert's own `ALERTS` series says is firing.
- PromQL has no binomial and no Poisson tail. Their Chernoff bounds stand in: never smaller, so never more eager.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monitor.domain.objectives import DRIFTED_BOOKINGS, RATE_ALERTS
from monitor.domain.times import SECOND
from monitor.domain.vocabulary import AlertName, Drift, PageState, Severity, Stage, Traffic

if TYPE_CHECKING:
    from monitor.alerting.objectives_file import ObjectivesFile

EXPECTED_BOOKINGS = "booking_expected_bookings"
CANARY_FAILURES = "booking_canary_consecutive_failures"
SCHEMA_DRIFT = "booking_schema_drift"


class Expressions:
    """Writes the expressions for one objectives file."""

    def __init__(self, file: ObjectivesFile) -> None:
        self._objectives = file.objectives
        self._job = file.prometheus.job
        self._fresh_seconds = file.objectives.ledger_stale.older_than // SECOND

    def metric(self, name: str, *matchers: str) -> str:
        """Select a metric of the service."""
        return name + "{" + ",".join((f'job="{self._job}"', *matchers)) + "}"

    def fresh(self, name: str, *matchers: str) -> str:
        """Select a metric from the replicas whose ledger was judged a moment ago; in parentheses."""
        judged = self.metric("booking_ledger_judged_timestamp_seconds")
        return f"({self.metric(name, *matchers)} and on (job, instance) (time() - {judged} <= {self._fresh_seconds}))"

    def frozen(self, alertname: str, severity: Severity, condition: str, *, by_rate: bool = False) -> str:
        """Let a condition neither begin nor end while the ledger is stale or a maintenance window is open.

        The condition's labels are `sli` and `traffic` when `by_rate` is set, else none.

        A scrape may come between the rules of one evaluation, so that what a condition rests on was recorded from
        other truth than the age is read from now. Hence the age is asked for twice: as recorded before all else, and
        as it is in this query.
        """
        firing = f'ALERTS{{alertname="{alertname}",alertstate="firing",severity="{severity}"}}'
        held = f"max by (sli, traffic) ({firing})" if by_rate else f"max ({firing})"
        before = f"booking_ledger:age:seconds <= {self._fresh_seconds}"
        still = f"time() - max({self.metric('booking_ledger_judged_timestamp_seconds')}) <= {self._fresh_seconds}"
        fresh = f"{before} and on () {still}"
        return self.in_maintenance(alertname, condition, held) + f"\nor\n({held} unless on () ({fresh}))"

    def in_maintenance(self, alertname: str, condition: str, held: str) -> str:
        """Replace a condition by what is `held` during the maintenance windows that cover the alert."""
        windows = [
            f"(vector(time()) >= {window.starts / SECOND!r} < {window.ends / SECOND!r})"
            for window in self._objectives.maintenance
            if window.covers(alertname)
        ]
        if not windows:
            return f"(\n{_indent(condition)}\n)"
        planned = " or ".join(windows)
        return f"((\n{_indent(condition)}\n) unless on () ({planned}))\nor\n({held} and on () ({planned}))"

    def recordings(self) -> dict[str, str]:
        """Write what the alerts build on, and dashboards may draw, in the order in which it must be evaluated."""
        promised = "on (sli) group_left () booking_sli:objective:ratio"
        allowed = "on (sli) group_left () (1 - booking_sli:objective:ratio)"
        good = "(booking_sli:events:fresh - booking_sli:bad:fresh)"
        judged = self.metric("booking_ledger_judged_timestamp_seconds")
        return {
            "booking_ledger:age:seconds": f"time() - max({judged})",
            "booking_sli:events:fresh": f"max by (sli, traffic, window) {self.fresh('booking_sli_events')}",
            "booking_sli:bad:fresh": f"max by (sli, traffic, window) {self.fresh('booking_sli_bad')}",
            "booking_sli:objective:ratio": f"max by (sli) ({self.metric('booking_sli_objective_ratio')})",
            "booking_sli:good:ratio": f"{good} / (booking_sli:events:fresh > 0)",
            "booking_sli:failing_evidence:nats": (
                "(\n"
                f"    booking_sli:bad:fresh * ln(booking_sli:bad:fresh / (booking_sli:events:fresh * {allowed}))\n"
                f"  + {good}\n"
                f"    * ln(clamp_min({good}, 1e-9) / (booking_sli:events:fresh * {promised}))\n"
                ")\n"
                f"and booking_sli:good:ratio < {promised}"
            ),
            "booking_sli:critical_evidence:nats": self._critical(),
            "booking_sli:warning_good:ratio": self._warning(),
            "booking_traffic:expected:fresh": f"max by (window) {self.fresh(EXPECTED_BOOKINGS)} > 0",
            "booking_traffic:seen:fresh": (
                f'max by (window) (booking_sli:events:fresh{{sli="{Stage.CHAT_ROOM}",traffic="{Traffic.REAL}"}})'
            ),
            "booking_traffic:absence_evidence:nats": (
                "(\n"
                "    booking_traffic:expected:fresh - booking_traffic:seen:fresh\n"
                "  + booking_traffic:seen:fresh\n"
                "    * ln(clamp_min(booking_traffic:seen:fresh, 1e-9) / booking_traffic:expected:fresh)\n"
                ")\n"
                "and booking_traffic:seen:fresh < booking_traffic:expected:fresh"
            ),
        }

    def _critical(self) -> str:
        tier = self._objectives.critical
        return "\nor\n".join(
            f'  booking_sli:failing_evidence:nats{{window="{window}"}} >= {_nats(tier.alpha)}\n'
            f'  and booking_sli:bad:fresh{{window="{window}"}} >= {tier.min_bad}\n'
            f'  and ignoring (window) booking_sli:bad:fresh{{window="{companion}"}} > 0'
            for window, companion in tier.windows.items()
        )

    def _warning(self) -> str:
        tier = self._objectives.warning
        window = f'window=~"{"|".join(tier.windows)}"'
        threshold = f"(1 - {tier.burn_rate!r} * (1 - booking_sli:objective:ratio))"
        return (
            f"booking_sli:good:ratio{{{window}}} < on (sli) group_left () {threshold}\n"
            f"and booking_sli:bad:fresh{{{window}}} >= {tier.min_bad}"
        )

    def critical_rate(self, sli: Stage) -> str:
        """Hold where a rate is below its objective with evidence."""
        condition = f'max by (sli, traffic) (booking_sli:critical_evidence:nats{{sli="{sli}"}})'
        return self.frozen(RATE_ALERTS[sli], Severity.CRITICAL, condition, by_rate=True)

    def warning_rate(self, sli: Stage) -> str:
        """Hold where a rate is below its objective, unless its critical alert fires."""
        name = RATE_ALERTS[sli]
        condition = (
            f'max by (sli, traffic) (booking_sli:warning_good:ratio{{sli="{sli}"}})\n'
            f'unless on (sli, traffic) ALERTS{{alertname="{name}",alertstate="firing",severity="{Severity.CRITICAL}"}}'
        )
        return self.frozen(name, Severity.WARNING, condition, by_rate=True)

    def overdue(self) -> str:
        """Hold for each stage that real bookings wait for too long."""
        oldest = self.fresh("booking_overdue_oldest_seconds", f'traffic="{Traffic.REAL}"')
        condition = (
            "max by (sli, traffic) (\n"
            f'  label_replace({oldest}, "sli", "$1", "stage", "(.+)")\n'
            f") > {self._objectives.overdue.older_than // SECOND}"
        )
        return self.frozen(AlertName.OVERDUE, Severity.WARNING, condition, by_rate=True)

    def canary_failing(self) -> str:
        """Hold when too many canaries in a row failed."""
        condition = f"max {self.fresh(CANARY_FAILURES)} >= {self._objectives.canary_failing.at_least}"
        return self.frozen(AlertName.CANARY_FAILING, Severity.CRITICAL, condition)

    def schema_drift(self) -> str:
        """Hold when bookings drift from the schema, or an attribute is gone."""
        drifted = self.fresh(SCHEMA_DRIFT, f'kind=~"{"|".join(DRIFTED_BOOKINGS)}"')
        gone = self.fresh(SCHEMA_DRIFT, f'kind="{Drift.MISSING_ATTRIBUTE}"')
        condition = f"sum (max by (kind) {drifted}) >= {self._objectives.schema_drift.at_least}\nor\nmax {gone} > 0"
        return self.frozen(AlertName.SCHEMA_DRIFT, Severity.CRITICAL, condition)

    def traffic_absent(self) -> str:
        """Hold when fewer bookings come than can be chance."""
        rule = self._objectives.traffic_absent
        nats = f'booking_traffic:absence_evidence:nats{{window=~"{"|".join(rule.windows)}"}}'
        condition = f"max ({nats}) >= {_nats(rule.p_value)}"
        return self.frozen(AlertName.TRAFFIC_ABSENT, Severity.WARNING, condition)

    def page_undelivered(self) -> str:
        """Hold when a page waits for too long, or was given up."""
        waiting = self.fresh("booking_page_oldest_seconds", f'state="{PageState.PENDING}"')
        dead = self.fresh("booking_pages", f'state="{PageState.DEAD}"')
        condition = f"max {waiting} > {self._objectives.page_undelivered.older_than // SECOND}\nor\nmax {dead} > 0"
        return self.frozen(AlertName.PAGE_UNDELIVERED, Severity.CRITICAL, condition)

    def ledger_stale(self) -> str:
        """Hold when nothing could be judged."""
        firing = f'max (ALERTS{{alertname="{AlertName.LEDGER_STALE}",alertstate="firing"}})'
        condition = f"booking_ledger:age:seconds > {self._fresh_seconds}"
        return self.in_maintenance(AlertName.LEDGER_STALE, condition, firing)

    def monitor_down(self, alertname: str) -> str:
        """Hold when no replica could be scraped, and when Prometheus knows of none."""
        firing = f'max (ALERTS{{alertname="{alertname}",alertstate="firing"}})'
        return self.in_maintenance(alertname, f"absent({self.metric('up')} == 1)", firing)


def _nats(probability: float) -> str:
    return repr(-math.log(probability))


def _indent(expression: str) -> str:
    return "\n".join(f"  {line}" for line in expression.splitlines())
