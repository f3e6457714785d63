"""The sentences of a page: what is wrong, and why, for a person who has just been woken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from monitor.domain.times import SECOND
from monitor.domain.vocabulary import AlertName, Reason, Stage, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NOUN: Mapping[Stage, str] = {
    Stage.CHAT_ROOM: "chat room",
    Stage.MESSAGE: "system message",
    Stage.NOTIFICATION: "notification",
    Stage.PUSH: "push",
    Stage.REALTIME: "realtime event",
}

_LACK: Mapping[Stage, tuple[str, str]] = {
    Stage.CHAT_ROOM: ("has no chat room", "have no chat room"),
    Stage.MESSAGE: ("has no system message", "have no system message"),
    Stage.NOTIFICATION: ("has no delivered notification", "have no delivered notification"),
    Stage.PUSH: ("has no accepted push", "have no accepted push"),
    Stage.REALTIME: ("was not seen live by its provider", "were not seen live by their provider"),
}
"""What a bad stage means for one booking, and for several."""


_CAUSE: Mapping[Reason, str] = {
    Reason.NEVER_ATTEMPTED: "Nothing tried to make the {noun}: the component that should do so did not run.",
    Reason.WRITE_REJECTED: "The platform rejected the {noun}.",
    Reason.TARGET_MISSING: "The collection or attribute that the {noun} is written to does not exist.",
    Reason.FIELD_MISMATCH: "The provider is looked for in {compared} but stands in {set}.",
    Reason.LATE: "The {noun} came, but after its due time.",
    Reason.PLATFORM_UNREACHABLE: "The platform could not be reached.",
    Reason.PUSH_REJECTED: "The push service rejected the push.",
    Reason.SUBSCRIBER_SILENT: "The event was sent to a live subscriber, and no acknowledgement came back.",
    Reason.ON_TIME: "No cause: the stage is good.",
    Reason.NO_LIVE_SUBSCRIPTION: "No cause: nothing was owed.",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a summary is made of. Times are milliseconds since the epoch."""

    alertname: AlertName
    sli: Stage | None
    traffic: Traffic | None
    events: int
    bad: int
    since: int | None
    now: int
    objective: float | None
    expected: float | None
    channel: str | None
    late: bool
    drill: bool
    reminder_since: int | None = None
    """Since when the alert fires, for a page that says so again."""


def percent(ratio: float) -> str:
    """Write a ratio as `95 %` or `99.95 %`."""
    return f"{ratio * 100:.6g} %"


def summary(facts: Facts) -> str:
    """Say in one line what is wrong: `7 of 9 bookings since 14:02 have no chat room (objective 95 %)`.

    Times of day are UTC.
    """
    sentence = _SENTENCES[facts.alertname](facts)
    if facts.reminder_since is not None:
        sentence = f"Reminder, firing since {_moment(facts.reminder_since, facts.now)}: {sentence}"
    return f"DRILL: {sentence}" if facts.drill else sentence


def cause(reason: Reason, sli: Stage | None, *, compared_field: str | None, set_field: str | None) -> str:
    """Say in one line why a stage is bad."""
    return _CAUSE[reason].format(
        noun=_NOUN[sli] if sli else "stage",
        compared=compared_field or "another field",
        set=set_field or "none that is known",
    )


def _rate(facts: Facts) -> str:
    objective = "" if facts.objective is None else f" (objective {percent(facts.objective)})"
    return f"{facts.bad} of {_bookings(facts, facts.events)}{_since(facts)} {_lack(facts, facts.bad)}{objective}"


def _overdue(facts: Facts) -> str:
    return f"{_bookings(facts, facts.bad)} due{_since(facts)} {_lack(facts, facts.bad)}, and repair did not help"


def _canary(facts: Facts) -> str:
    return f"{facts.bad} canary bookings in a row failed{_since(facts)}"


def _drift(facts: Facts) -> str:
    return (
        f"{facts.bad} of {_bookings(facts, facts.events)}{_since(facts)} do not fit the schema that the pipeline needs"
    )


def _absent(facts: Facts) -> str:
    expected = "more" if facts.expected is None else f"about {facts.expected:.0f}"
    return f"{_bookings(facts, facts.events)}{_since(facts)} where {expected} were expected"


def _stale(facts: Facts) -> str:
    age = "" if facts.since is None else f" for {_length(facts.now - facts.since)}"
    return f"No booking could be judged{age}: the rate alerts are frozen"


def _undelivered(facts: Facts) -> str:
    age = "" if facts.since is None else f" for {_length(facts.now - facts.since)}"
    return f"A page to {facts.channel or 'a channel'} has not been accepted{age}"


_SENTENCES: Mapping[AlertName, Callable[[Facts], str]] = {
    AlertName.CHAT_ROOM_LOW: _rate,
    AlertName.NOTIFICATION_LOW: _rate,
    AlertName.REALTIME_LOW: _rate,
    AlertName.OVERDUE: _overdue,
    AlertName.CANARY_FAILING: _canary,
    AlertName.SCHEMA_DRIFT: _drift,
    AlertName.TRAFFIC_ABSENT: _absent,
    AlertName.LEDGER_STALE: _stale,
    AlertName.PAGE_UNDELIVERED: _undelivered,
}


def _bookings(facts: Facts, count: int) -> str:
    kind = "canary " if facts.traffic is Traffic.CANARY else ""
    return f"{count} {kind}{'booking' if count == 1 else 'bookings'}"


def _lack(facts: Facts, count: int) -> str:
    if facts.sli is None:
        return "is not complete" if count == 1 else "are not complete"
    if facts.late:
        return f"got {'its' if count == 1 else 'their'} {_NOUN[facts.sli]} late"
    one, several = _LACK[facts.sli]
    return one if count == 1 else several


def _since(facts: Facts) -> str:
    return "" if facts.since is None else f" since {_moment(facts.since, facts.now)}"


def _moment(instant: int, now: int) -> str:
    """Write the time of day, with the date where it is not today's."""
    moment, today = (datetime.fromtimestamp(at // SECOND, UTC) for at in (instant, now))
    return f"{moment:%H:%M}" if moment.date() == today.date() else f"{moment:%Y-%m-%d %H:%M}"


def _length(milliseconds: int) -> str:
    seconds = max(0, milliseconds) // SECOND
    if seconds < 120:  # noqa: PLR2004 - two minutes: below, seconds say more
        return f"{seconds} s"
    return f"{seconds // 60} min"
