"""The life of one alert: inactive, pending, firing, resolved, with the transitions that Prometheus makes.

Follows prometheus/compliance's alert_generator specification and Prometheus' `rules/alerting.go`. Added is a
third answer to "does it hold?": None, for truth that is too old to judge by. It lets nothing fire and nothing
resolve: a firing alert stays, a pending one has to begin its `for` again on fresh truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from monitor.domain.vocabulary import AlertState


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a condition is watched before its alert fires and after it ends. In milliseconds."""

    hold: int = 0
    """`for`: how long the condition must hold before the alert fires."""
    keep: int = 0
    """`keep_firing_for`: how long the alert goes on after the condition was last seen to hold."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Where one alert stands. Times in milliseconds since the epoch."""

    state: AlertState = AlertState.INACTIVE
    active_at: int | None = None
    """Since when the condition holds, as far as this spell goes; None while inactive."""
    fired_at: int | None = None
    """When this spell began to fire; after it, that of the last spell that fired."""
    keeping_since: int | None = None
    """When a firing alert's condition was first seen not to hold any more; None while it holds."""
    resolved_at: int | None = None
    """When the last spell that fired ended; None while firing and before the first one."""


class Transition(StrEnum):
    """What a step changed."""

    PENDING = "pending"
    """The condition came to hold, and its `for` is not over."""
    FIRED = "fired"
    RESOLVED = "resolved"
    LAPSED = "lapsed"
    """It was pending and never fired: nobody is told."""


def advance(alert: Alert, condition: bool | None, now: int, timing: Timing) -> tuple[Alert, tuple[Transition, ...]]:  # noqa: FBT001 - it is the one input
    """Take one step: the alert after it, and what changed, in order.

    `condition` is None where the truth is too old to tell.
    """
    if condition:
        return _hold(alert, now, timing)
    if alert.state is AlertState.PENDING:
        return Alert(fired_at=alert.fired_at, resolved_at=alert.resolved_at), (Transition.LAPSED,)
    if alert.state is AlertState.INACTIVE:
        return alert, ()
    if condition is None:
        return replace(alert, keeping_since=None), ()
    since = now if alert.keeping_since is None else alert.keeping_since
    if now - since < timing.keep:
        return replace(alert, keeping_since=since), ()
    return Alert(fired_at=alert.fired_at, resolved_at=now), (Transition.RESOLVED,)


def _hold(alert: Alert, now: int, timing: Timing) -> tuple[Alert, tuple[Transition, ...]]:
    if alert.state is AlertState.FIRING:
        return replace(alert, keeping_since=None), ()
    transitions: tuple[Transition, ...] = ()
    active_at = alert.active_at
    if active_at is None:
        active_at = now
        transitions = (Transition.PENDING,)
    if now - active_at < timing.hold:
        return replace(alert, state=AlertState.PENDING, active_at=active_at), transitions
    return Alert(AlertState.FIRING, active_at=active_at, fired_at=now), (*transitions, Transition.FIRED)
