"""How the three SLIs are shown, each in its own column, in the same order everywhere."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain.objectives import RATE_ALERTS
from monitor.domain.vocabulary import AlertName, Stage


@dataclass(frozen=True, slots=True)
class Sli:
    """One SLI as the dashboards name it."""

    stage: Stage
    name: str
    good: str
    """When a booking is good, in one sentence."""

    @property
    def alert(self) -> AlertName:
        """The alert that watches its rate."""
        return RATE_ALERTS[self.stage]

    @property
    def matcher(self) -> str:
        """Matcher of the series of this SLI."""
        return f'sli="{self.stage}"'


SLIS = (
    Sli(
        Stage.CHAT_ROOM,
        "Chat room creation",
        "A booking is good when, at its due time, its chat room exists with its first message.",
    ),
    Sli(
        Stage.NOTIFICATION,
        "Notification delivery",
        "A booking is good when, at its due time, its notification exists and, where the provider subscribed to push,"
        " a push service took it.",
    ),
    Sli(
        Stage.REALTIME,
        "Realtime match",
        "A booking is good when, at its due time, a live subscriber of its provider has acknowledged it. Without a live"
        " subscriber it does not count.",
    ),
)
