"""Rows of the result: what is compared with what, and whether it is good enough. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Numbers = Mapping[str, float]
"""What one measurement of one side found, by metric; times are in milliseconds, unless the name says otherwise."""

Round = Mapping[str, Numbers]
"""The measurements of one round, by side."""


class Better(StrEnum):
    """In which direction a number improves."""

    HIGHER = "higher"
    LOWER = "lower"


class Verdict(StrEnum):
    """How a row compares with its target."""

    GOAL = "goal"
    ASK = "ask"
    MISS = "miss"
    INFO = "info"
    """There is no target: the row says how far the measuring itself can be trusted."""
    SKIPPED = "skipped"
    FAILED = "failed"
    """It could not be measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of targets.

    `ours` and `peer` are `side.metric`. With a peer the ratio ours / peer decides, without one the number itself.
    """

    experiment: str
    what: str
    against: str
    unit: str
    better: Better
    ours: str
    peer: str | None = None
    ask: float | None = None
    goal: float | None = None

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that have to be measured for this row."""
        return tuple(metric.partition(".")[0] for metric in (self.ours, self.peer) if metric is not None)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the least and greatest of them."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured for one row."""

    row: Row
    verdict: Verdict
    ours: Spread | None = None
    peer: Spread | None = None
    ratio: Spread | None = None
    reason: str = ""
    """Why it was skipped or failed."""


def spread(values: Sequence[float]) -> Spread:
    """Median and range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie (nearest rank)."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def judge(row: Row, value: float) -> Verdict:
    """Compare a ratio, or a number without a peer, with what is asked for and aimed at."""
    if row.ask is None or row.goal is None:
        return Verdict.INFO
    sign = 1 if row.better is Better.HIGHER else -1
    if value * sign >= row.goal * sign:
        return Verdict.GOAL
    return Verdict.ASK if value * sign >= row.ask * sign else Verdict.MISS


def evaluate(row: Row, rounds: Sequence[Round]) -> Result:
    """Form the ratio within each round, so that what slowed a whole round slows both sides of it."""
    ours = [pick(one, row.ours) for one in rounds]
    if row.peer is None:
        measured = spread(ours)
        return Result(row, judge(row, measured.median), measured)
    theirs = [pick(one, row.peer) for one in rounds]
    ratio = spread([mine / other for mine, other in zip(ours, theirs, strict=True)])
    return Result(row, judge(row, ratio.median), spread(ours), spread(theirs), ratio)


def pick(one: Round, name: str) -> float:
    """The number that `side.metric` stands for."""
    side, _, metric = name.partition(".")
    return one[side][metric]
