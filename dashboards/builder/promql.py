"""The PromQL that the dashboards share. Every selector follows the variables `job` and `instance`.

All replicas show the same ledger, so its numbers are aggregated with `max`: a sum would count each booking
once for every replica.
"""

from __future__ import annotations

import math

from monitor.domain.vocabulary import AlertState, Outcome, Window

ALERT = "alertname, severity, sli, traffic"
"""The labels that name one alert."""
TRAFFIC = 'traffic="$traffic"'
REPORTING_WINDOWS = (Window.M5, Window.H1, Window.H6, Window.H24, Window.H72)
REPORTED = f'window=~"{"|".join(REPORTING_WINDOWS)}"'
BAD = f'outcome=~"{"|".join(outcome for outcome in Outcome if outcome.bad)}"'
COUNTED = f'outcome=~"{"|".join(outcome for outcome in Outcome if outcome.counts)}"'


def select(metric: str, *matchers: str) -> str:
    """Select a metric in the chosen jobs and instances."""
    inner = ", ".join(('job=~"$job"', 'instance=~"$instance"', *matchers))
    return f"{metric}{{{inner}}}"


def ledger(metric: str, *matchers: str, by: str = "") -> str:
    """Read a gauge of the ledger, the same on every replica."""
    return f"max by ({by}) ({select(metric, *matchers)})"


def per_minute(metric: str, *matchers: str, by: str) -> str:
    """Read a counter of the ledger as events per minute."""
    return f"60 * max by ({by}) (rate({select(metric, *matchers)}[$__rate_interval]))"


def own_rate(metric: str, *matchers: str, by: str) -> str:
    """Read a counter of the processes as events per second; each counts its own, so they add up."""
    return f"sum by ({by}) (rate({select(metric, *matchers)}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """Divide a part by its whole, and give nothing where the whole is 0: that is no data, not a perfect record."""
    return f"{part}\n/\n({whole} > 0)"


def age(metric: str, *matchers: str, by: str = "") -> str:
    """Seconds since a timestamp of the ledger, and nothing where it was never set."""
    return f"time() - ({ledger(metric, *matchers, by=by)} > 0)"


OBJECTIVE = ledger("booking_sli_objective_ratio", by="sli")
ALLOWED = f"on (sli) group_left () (1 - {OBJECTIVE})"


def events(*matchers: str, by: str = "sli, window") -> str:
    """Events of the chosen traffic in the ledger's windows."""
    return ledger("booking_sli_events", TRAFFIC, *matchers, by=by)


def bad(*matchers: str, by: str = "sli, window") -> str:
    """Bad events of the chosen traffic in the ledger's windows."""
    return ledger("booking_sli_bad", TRAFFIC, *matchers, by=by)


def good_ratio(*matchers: str) -> str:
    """Share of good events by SLI and window."""
    return f"1 -\n{share(bad(*matchers), events(*matchers))}"


def burn(*matchers: str) -> str:
    """How many times faster than allowed the error budget is spent, by SLI and window."""
    return f"{share(bad(*matchers), events(*matchers))}\n/ {ALLOWED}"


def evidence(alpha: float, *matchers: str) -> str:
    """Share of the evidence that fires a rate alert, by SLI and window; 0 while the objective is met.

    The evidence is Chernoff's bound on the tail of the binomial distribution, P(X >= bad) <= exp(-n KL(bad/n || q)),
    in nats, against ln(1/alpha).
    """
    failed, due = bad(*matchers), f"({events(*matchers)} > 0)"
    passed = f"({due} - {failed})"
    met = f"on (sli) group_left () {OBJECTIVE}"
    return (
        f"(\n  {failed} * ln(clamp_min({failed}, 1e-9) / ({due} * {ALLOWED}))\n"
        f"  + {passed} * ln(clamp_min({passed}, 1e-9) / ({due} * {met}))\n)\n"
        f"* ({failed} / {due} > bool {ALLOWED})\n/ {math.log(1 / alpha):.3f}"
    )


def counted(window: str, *matchers: str, by: str = "sli") -> str:
    """Outcomes of the chosen traffic over a range of time, from the ledger's counters."""
    counter = select("booking_sli_outcomes_total", TRAFFIC, *matchers)
    return f"sum by ({by}) (max by (sli, outcome, reason) (increase({counter}[{window}])))"


def firing() -> str:
    """1 for every alert that fires, 0 for every other one."""
    return ledger("booking_alert_state", f'state="{AlertState.FIRING}"', by=ALERT)


def spells() -> str:
    """Spells of firing within the time range, those that reach over one of its ends included.

    Each spell has two ends, which are changes, but for one that lasts on and one that had begun before.
    """
    fires = select("booking_alert_state", f'state="{AlertState.FIRING}"')
    changes = f"max by ({ALERT}) (changes({fires}[$__range]))"
    before = f"(max by ({ALERT}) ({fires} offset $__range) or 0 * {firing()})"
    return f"ceil((\n  {changes}\n  + {firing()}\n  + {before}\n) / 2)"


def alert_state() -> str:
    """State of every alert as a number: 0 inactive, 1 pending, 2 firing."""
    pending = ledger("booking_alert_state", f'state="{AlertState.PENDING}"', by=ALERT)
    return f"2 * {firing()}\n+ {pending}"


def disturbed_alerts() -> str:
    """State of every alert that was pending or firing at some time of the time range, as a number."""
    disturbed = select("booking_alert_state", f'state!="{AlertState.INACTIVE}"')
    return f"({alert_state()})\nand on ({ALERT})\n(max by ({ALERT}) (max_over_time({disturbed}[$__range] @ end())) > 0)"
