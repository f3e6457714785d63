"""What an alert of Prometheus says: Go templates that look up the numbers at the moment it is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.alerting.promql import CANARY_FAILURES, SCHEMA_DRIFT
from monitor.alerting.wording import percent
from monitor.domain.objectives import DRIFTED_BOOKINGS
from monitor.domain.vocabulary import Drift, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

_LACK: Mapping[Stage, str] = {
    Stage.CHAT_ROOM: "have no chat room",
    Stage.NOTIFICATION: "have no delivered notification",
    Stage.REALTIME: "were not seen live by their provider",
}

LEDGER_STALE = "No booking could be judged for {{ $value | humanizeDuration }}: the rate alerts are frozen"
MONITOR_DOWN = "Prometheus scrapes no booking monitor: all other booking alerts of Prometheus are blind"
WATCHDOG = "Always firing: as long as it is heard, the way from Prometheus to a person is whole"

_COUNT = ' | printf "%.0f"'
_LENGTH = " | humanizeDuration"


def rate(sli: Stage, objective: float, clearest: str) -> str:
    """Say `7 of 9 bookings of the last 1h have no chat room (objective 95 %)`.

    `clearest` is a query, with `%s` for the traffic, that finds the one series whose window to speak of.
    """
    kind = '{{ if eq $labels.traffic "canary" }}canary {{ end }}bookings'
    lack = f"{_LACK[sli]} (objective {percent(objective)})"
    select = f"sli='{sli}',traffic='%s',window='%s'"
    bad, events = (
        _look_up(f"booking_sli:{name}:fresh{{{select}}}", "$labels.traffic $window") for name in ("bad", "events")
    )
    return (
        f'{{{{ with printf "{clearest}" $labels.traffic | query }}}}{{{{ $window := . | first | label "window" }}}}'
        f"{bad} of {events} {kind} of the last {{{{ $window }}}} {lack}"
        f"{{{{ else }}}}Too many {kind} {lack}{{{{ end }}}}"
    )


def overdue(job: str) -> str:
    """Say how many bookings wait for the stage, and for how long."""
    select = f"job='{job}',stage='%s',traffic='%s'"
    count = _look_up(f"max(booking_overdue{{{select}}})", "$labels.sli $labels.traffic")
    oldest = _look_up(f"max(booking_overdue_oldest_seconds{{{select}}})", "$labels.sli $labels.traffic", _LENGTH)
    return f"{count} overdue bookings still lack their {{{{ $labels.sli }}}}, the oldest for {oldest}"


def canary_failing(job: str) -> str:
    """Say how many canaries failed."""
    failed = _look_up(f"max({CANARY_FAILURES}{{job='{job}'}})")
    return f"{failed} canary bookings in a row failed"


def schema_drift(job: str) -> str:
    """Say how much drifted."""
    kinds = "|".join(DRIFTED_BOOKINGS)
    bookings = _look_up(f"sum(max by (kind) ({SCHEMA_DRIFT}{{job='{job}',kind=~'{kinds}'}}))")
    gone = _look_up(f"max({SCHEMA_DRIFT}{{job='{job}',kind='{Drift.MISSING_ATTRIBUTE}'}})")
    return (
        f"{bookings} bookings of the last hour name their provider only in a legacy or unknown field, and {gone} "
        "attributes that the pipeline needs are gone"
    )


def traffic_absent() -> str:
    """Say how many bookings came, and how many were expected."""
    clearest = "topk(1, booking_traffic:absence_evidence:nats)"
    seen, expected = (
        _look_up(f"booking_traffic:{name}:fresh{{window='%s'}}", "$window") for name in ("seen", "expected")
    )
    return (
        f'{{{{ with query "{clearest}" }}}}{{{{ $window := . | first | label "window" }}}}'
        f"{seen} bookings in the last {{{{ $window }}}} where about {expected} were expected"
        "{{ else }}Fewer bookings than were expected{{ end }}"
    )


def page_undelivered(job: str) -> str:
    """Say for how long a page waits, and how many were given up."""
    oldest = _look_up(f"max(booking_page_oldest_seconds{{job='{job}',state='pending'}})", form=_LENGTH)
    dead = _look_up(f"sum(max by (channel) (booking_pages{{job='{job}',state='dead'}}))")
    return f"A page has not been accepted for {oldest}, and {dead} were given up"


def _look_up(query: str, arguments: str = "", form: str = _COUNT) -> str:
    """Make a template that runs a query, with `%s` for each argument, and writes its one value."""
    asked = f'printf "{query}" {arguments} | query' if arguments else f'query "{query}"'
    return f"{{{{ with {asked} }}}}{{{{ . | first | value{form} }}}}{{{{ else }}}}an unknown number{{{{ end }}}}"
