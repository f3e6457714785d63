"""When Alertmanager is told again: it forgets what it does not hear of, so that it is told again and again."""

from __future__ import annotations

from monitor.domain.times import MINUTE

RESEND_DELAY = MINUTE
"""Milliseconds after which an alert that still fires is posted again."""
RESOLVED_RETENTION = 15 * MINUTE
"""Milliseconds for which a resolved alert is posted again."""


def resend_due(now: int, *, sent_at: int | None, resolved_at: int | None) -> bool:
    """Whether an alert that fires (`resolved_at` None) or fired is to be posted at this evaluation."""
    if resolved_at is not None and now - resolved_at > RESOLVED_RETENTION:
        return False
    if sent_at is None or (resolved_at is not None and resolved_at > sent_at):
        return True
    return now - sent_at > RESEND_DELAY
