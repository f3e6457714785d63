"""The ways by which a page leaves: one small interface, and one module for each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from monitor.domain.retry import RetryPolicy
from monitor.domain.times import MINUTE, SECOND

if TYPE_CHECKING:
    from monitor.alerting.payload import PageContent
    from monitor.domain.vocabulary import PageAction, PageChannel

PAGE_RETRIES = RetryPolicy(attempts=300, first_delay=30 * SECOND, longest_delay=5 * MINUTE)
"""When a page that was not accepted is sent again, for about a day. PagerDuty asks for 30 s and more between tries."""
DEADLINE_SECONDS = 15.0
"""For a whole exchange with a receiver: one that sends a byte at a time hangs nobody."""


class SendStatus(StrEnum):
    """What became of an attempt to send."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    """Not now; the same page may be accepted later."""
    REJECTED = "rejected"
    """Never: the same page would be refused again."""


@dataclass(frozen=True, slots=True)
class Page:
    """One message that must arrive."""

    id: str
    """Of the outbox row: the same for each attempt, so that a receiver can drop repeats."""
    action: PageAction
    dedup_key: str
    content: PageContent
    evaluated_at: int
    """The latest evaluation that found the incident so, in milliseconds since the epoch. For a page that is sent
    again this moves on: a receiver that forgets (Alertmanager) counts from it."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of an attempt to send, and what to do next. Never holds a secret."""

    status: SendStatus
    detail: str = ""
    """For people: what the receiver said, or why it could not be reached."""
    retry_after_seconds: float | None = None
    """What the receiver, or our own rate limit, asks to wait at least; None: as `PAGE_RETRIES` has it."""
    attempted: bool = True
    """False when our own rate limit held the page back: nothing was sent, and it is no failed attempt."""

    @property
    def accepted(self) -> bool:
        """Whether the receiver took responsibility for the page."""
        return self.status is SendStatus.ACCEPTED

    @classmethod
    def accept(cls, detail: str = "") -> SendResult:
        """Build the result of a page that was accepted."""
        return cls(SendStatus.ACCEPTED, detail)

    @classmethod
    def retry(cls, detail: str, after_seconds: float | None = None, *, attempted: bool = True) -> SendResult:
        """Build the result of a page that has to be sent again."""
        return cls(SendStatus.RETRY, detail, after_seconds, attempted)

    @classmethod
    def reject(cls, detail: str) -> SendResult:
        """Build the result of a page that will never be accepted."""
        return cls(SendStatus.REJECTED, detail)


class Channel(Protocol):
    """A way out. Sending never raises for what the other side does: each answer is a result."""

    @property
    def name(self) -> PageChannel:
        """By which name the outbox and the metrics know it."""

    async def send(self, page: Page) -> SendResult:
        """Try once to hand over the page."""
