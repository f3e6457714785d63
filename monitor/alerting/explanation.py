"""The rules in plain words: when each would fire, and how often it would be wrong. Every number is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.alerting import false_alarms
from monitor.alerting.objectives_file import MONITOR_DOWN
from monitor.alerting.wording import percent
from monitor.domain import statistics
from monitor.domain.objectives import RATE_ALERTS
from monitor.domain.times import HOUR, MINUTE, SECOND
from monitor.domain.vocabulary import AlertName, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.alerting.objectives_file import ObjectivesFile
    from monitor.domain.objectives import CriticalTier, Objectives
    from monitor.domain.vocabulary import Window

SHOWN_RATES = (2, 20, 100, 2000)
"""Bookings an hour for which false alarms and detection are shown. About 100 are where false pages are likeliest."""
SHOWN_FAULTS = (1.0, 0.5, 0.2, 0.1)
"""Shares of failing bookings for which detection is shown."""
HEALTHY_SHARE = 0.5
"""Healthy bookings are taken to fail at this multiple of what the objective allows."""
_UNRELIABLE_CANARY = 0.01
_NEVER = 1e-12
"""Chances below are called never: at a run a minute, less than once in a million years."""
_LEAST_SHOWN = 0.001
_NO_CHANCE = "Not a matter of chance: it counts what is there."


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rule in plain words."""

    alertname: str
    severity: Severity
    fires: str
    """When it would fire."""
    false_alarms: str
    """How often it would fire although all is well."""


def explain(file: ObjectivesFile) -> tuple[Explanation, ...]:
    """Put every rule into plain words, in the order in which they are evaluated."""
    objectives = file.objectives
    return (
        *_rates(objectives),
        _deterministic(
            AlertName.OVERDUE,
            Severity.WARNING,
            f"a real booking is still without its evidence {_length(objectives.overdue.older_than)} after it was due",
        ),
        _canary(objectives),
        _deterministic(
            AlertName.SCHEMA_DRIFT,
            Severity.CRITICAL,
            f"{objectives.schema_drift.at_least} bookings of the last hour have their provider in a legacy or unknown "
            "field only, or an attribute that the pipeline needs is gone",
        ),
        _absence(objectives),
        _deterministic(
            AlertName.LEDGER_STALE,
            Severity.CRITICAL,
            f"nothing was judged for {_length(objectives.ledger_stale.older_than)}; the alerts that rest on the ledger "
            "are frozen meanwhile",
        ),
        _deterministic(
            AlertName.PAGE_UNDELIVERED,
            Severity.CRITICAL,
            f"a page was not accepted for {_length(objectives.page_undelivered.older_than)}, or was given up",
        ),
        _deterministic(
            MONITOR_DOWN,
            Severity.CRITICAL,
            f"Prometheus could scrape no replica for {_length(file.prometheus.monitor_down.hold)}",
        ),
    )


def bookings_until_page(tier: CriticalTier, objective: float, per_hour: float, failing: float) -> int | None:
    """Bookings, counted from the fault on, until its page, where `per_hour` good ones came evenly before it.

    None where no window ever holds enough of them.
    """
    longest = max(window.seconds for window in tier.windows) / 3600
    for since in range(1, int(per_hour * longest) + 2):
        for window in tier.windows:
            usual = round(per_hour * window.seconds / 3600)
            bad = int(failing * min(since, usual))
            if bad >= tier.min_bad and statistics.binomial_tail_at_most(usual, bad, 1 - objective, tier.alpha):
                return since
    return None


def _rates(objectives: Objectives) -> list[Explanation]:
    explanations = []
    for sli, objective in objectives.ratios.items():
        tier, warning, name = objectives.critical, objectives.warning, RATE_ALERTS[sli]
        healthy = HEALTHY_SHARE * (1 - objective)
        pages = [false_alarms.critical_per_month(tier, objective, rate, healthy) for rate in SHOWN_RATES]
        warnings = [false_alarms.warning_per_month(warning, objective, rate, healthy) for rate in SHOWN_RATES]
        explanations += [
            Explanation(name, Severity.CRITICAL, _critical(tier, objective), _per_month(pages)),
            Explanation(
                name,
                Severity.WARNING,
                f"in {_any_of(warning.windows)} the good bookings are a smaller share than "
                f"{percent(1 - warning.burn_rate * (1 - objective))}, at least {warning.min_bad} are bad, for "
                f"{_length(warning.timing.hold)}, and the critical alert does not fire",
                _per_month(warnings),
            ),
        ]
    return explanations


def _critical(tier: CriticalTier, objective: float) -> str:
    allowed = 1 - objective
    alone = []
    for share in SHOWN_FAULTS:
        if share <= allowed:
            continue
        needed = statistics.events_until_proof(share, allowed, tier.alpha, at_least=tier.min_bad)
        if needed is None:
            continue
        fault = "a total outage pages" if share == 1 else f"{percent(share)} failing"
        alone.append(
            f"{fault} after {'' if share == 1 else 'about '}{_rounded(needed)}{' bookings' if share == 1 else ''}"
        )
    after = [
        f"{found} at {rate:,} an hour"
        for rate in SHOWN_RATES
        if (found := bookings_until_page(tier, objective, rate, failing=1.0))
    ]
    return (
        f"the objective is {percent(objective)}: {', '.join(alone)}, where the window ({_any_of(tier.windows)}) holds "
        f"no other bookings; after steady healthy traffic a total outage pages after {', '.join(after)}"
    )


def _canary(objectives: Objectives) -> Explanation:
    runs = objectives.canary_failing.at_least
    chance = _UNRELIABLE_CANARY**runs * (1 - _UNRELIABLE_CANARY)
    every = f"a false page in {1 / chance:,.0f} runs" if chance >= _NEVER else "practically never a false page"
    return Explanation(
        AlertName.CANARY_FAILING,
        Severity.CRITICAL,
        f"{runs} canaries in a row fail",
        f"If one healthy canary in {1 / _UNRELIABLE_CANARY:.0f} failed by chance: {every}.",
    )


def _absence(objectives: Objectives) -> Explanation:
    rule = objectives.traffic_absent
    return Explanation(
        AlertName.TRAFFIC_ABSENT,
        Severity.WARNING,
        f"in {_any_of(rule.windows)} so few real bookings came that chance would bring so few, or fewer, with a "
        f"probability of {rule.p_value:g} at most",
        _per_month([false_alarms.absence_per_month(rule, rate) for rate in SHOWN_RATES]),
    )


def _deterministic(alertname: str, severity: Severity, fires: str) -> Explanation:
    return Explanation(alertname, severity, fires, _NO_CHANCE)


def _per_month(found: list[float]) -> str:
    shown = [f"{_two_digits(number)} at {rate:,}" for number, rate in zip(found, SHOWN_RATES, strict=True)]
    return f"At most, a month, by bookings an hour: {', '.join(shown)}."


def _two_digits(number: float) -> str:
    return f"{float(f'{number:.2g}'):,g}" if number >= _LEAST_SHOWN else f"less than {_LEAST_SHOWN}"


def _rounded(count: int) -> int:
    """Round to what an `about` deserves: ones below 20, fives below 100, else tens."""
    step = 1 if count < 20 else 5 if count < 100 else 10  # noqa: PLR2004 - see the docstring
    return round(count / step) * step


def _any_of(windows: Iterable[Window]) -> str:
    *most, last = [str(window) for window in windows]
    return f"{', '.join(most)} or {last}" if most else last


def _length(milliseconds: int) -> str:
    for unit, size in (("h", HOUR), ("min", MINUTE)):
        if milliseconds >= 2 * size and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds // SECOND} s"
