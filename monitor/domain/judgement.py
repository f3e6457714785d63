"""Whether a stage of a booking is good, and if not, why. Nothing here believes more than what was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from monitor.domain.times import milliseconds
from monitor.domain.vocabulary import Outcome, Reason, Stage


class FactKind(IntEnum):
    """What a fact says of its stage."""

    FOUND = 0
    """The thing itself exists where it must exist, or its receiver acknowledged it."""
    NOT_OWED = 1
    """Nothing was owed."""
    FAILED = 2
    """An attempt ended in an error."""
    ABSENT = 3
    """It was looked for and is not there as it must be."""


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """One thing known of a stage, with its time in milliseconds since the epoch."""

    kind: FactKind
    at: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """A stage's outcome, its reason, and when its evidence came (milliseconds since the epoch), if it did."""

    outcome: Outcome
    reason: Reason
    evidence_at: int | None


@dataclass(frozen=True, slots=True)
class Grace:
    """Milliseconds from a booking's creation until each stage is due."""

    chat_room: int = 5_000
    notification: int = 10_000
    realtime: int = 10_000

    @classmethod
    def from_seconds(cls, chat_room: float, notification: float, realtime: float) -> Grace:
        """Make it of settings, in seconds."""
        return cls(milliseconds(chat_room), milliseconds(notification), milliseconds(realtime))

    def of(self, stage: Stage) -> int:
        """The grace of a stage: a supporting stage has that of the SLI it supports."""
        if stage in (Stage.CHAT_ROOM, Stage.MESSAGE):
            return self.chat_room
        return self.realtime if stage is Stage.REALTIME else self.notification


def judge(due_at: int, facts: Iterable[Fact]) -> Verdict:
    """Judge a stage by the facts known at or after its due time, in any order and however often repeated.

    Evidence in time is good. Without it, a stage to which nothing was owed is exempt, also if something came later.
    Otherwise it is late if evidence came, has failed if an attempt did, and is missing if none was seen. The latest of
    several reasons is named.
    """
    known = tuple(facts)
    at = min((fact.at for fact in known if fact.kind is FactKind.FOUND), default=None)
    if at is not None and at <= due_at:
        return Verdict(Outcome.GOOD, Reason.ON_TIME, at)
    owed = all(fact.kind is not FactKind.NOT_OWED for fact in known)
    if at is not None and owed:
        return Verdict(Outcome.LATE, Reason.LATE, at)
    for kind, outcome in (
        (FactKind.NOT_OWED, Outcome.EXEMPT),
        (FactKind.FAILED, Outcome.FAILED),
        (FactKind.ABSENT, Outcome.MISSING),
    ):
        of_kind = [fact for fact in known if fact.kind is kind]
        if of_kind:
            return Verdict(outcome, max(of_kind).reason, at)
    return Verdict(Outcome.MISSING, Reason.NEVER_ATTEMPTED, None)
