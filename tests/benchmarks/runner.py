"""Measures the sides of an experiment in turns, round after round, and forms the rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.model import Numbers, Result, Round, Row, Spread, Verdict, evaluate, pick, spread
from benchmarks.processes import BenchmarkError


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run was asked for."""

    scratch: Path
    """A directory on the disk that is measured."""
    rounds: int
    seconds: float
    """How long one side is measured in one round."""
    full: bool
    """Whether to run what takes long to prepare."""
    load_before: float
    """The machine's load average over the minute before the run."""


Measure = Callable[[], Numbers]
Sides = Mapping[str, Measure]


@dataclass(frozen=True, slots=True)
class Experiment:
    """Sides that are measured in the same rounds."""

    name: str
    open: Callable[[Bench], AbstractContextManager[Sides]]
    """Prepares what all rounds share; gives the sides."""
    slow: bool = False
    """Whether it runs with `--full` only."""


@dataclass(slots=True)
class Measured:
    """What an experiment gave."""

    experiment: str
    results: list[Result]
    rounds: list[dict[str, dict[str, float]]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Why a side could not be measured, by side."""
    seconds: float = 0.0


Progress = Callable[[str], None]


def run(experiment: Experiment, rows: list[Row], bench: Bench, progress: Progress) -> Measured:
    """Measure one experiment. A side that fails takes its rows along; the other sides go on."""
    if experiment.slow and not bench.full:
        return Measured(experiment.name, [Result(row, Verdict.SKIPPED, reason="needs --full") for row in rows])
    begun = time.perf_counter()
    wanted = {side for row in rows for side in row.sides}
    rounds: list[dict[str, dict[str, float]]] = []
    failures: dict[str, str] = {}
    progress(f"{experiment.name}: preparing")
    try:
        with experiment.open(bench) as sides:
            for number in range(bench.rounds):
                one: dict[str, dict[str, float]] = {}
                for side in _order([side for side in sides if side in wanted], number):
                    if side in failures:
                        continue
                    progress(f"{experiment.name}: round {number + 1} of {bench.rounds}, {side}")
                    os.sync()
                    try:
                        one[side] = dict(sides[side]())
                    except Exception as error:  # noqa: BLE001 - whatever it is, the row says so
                        failures[side] = _tell(error)
                rounds.append(one)
    except Exception as error:  # noqa: BLE001 - see above
        failures.update(dict.fromkeys(wanted, _tell(error)))
    results = [_result(row, rounds, failures) for row in rows]
    return Measured(experiment.name, results, rounds, failures, time.perf_counter() - begun)


def _order(sides: list[str], number: int) -> Iterator[str]:
    """Forwards in one round, backwards in the next, so that no side always follows the same one."""
    return iter(sides) if number % 2 == 0 else reversed(sides)


def _result(row: Row, rounds: list[dict[str, dict[str, float]]], failures: Mapping[str, str]) -> Result:
    reasons = [f"{side}: {failures[side]}" for side in dict.fromkeys(row.sides) if side in failures]
    if reasons:
        ours, peer = (_known(rounds, name, failures) for name in (row.ours, row.peer))
        return Result(row, Verdict.FAILED, ours, peer, reason="; ".join(reasons))
    complete: list[Round] = list(rounds)
    return evaluate(row, complete)


def _known(rounds: list[dict[str, dict[str, float]]], name: str | None, failures: Mapping[str, str]) -> Spread | None:
    """What was measured of one side of a row, if it was."""
    if name is None or not rounds or name.partition(".")[0] in failures:
        return None
    return spread([pick(one, name) for one in rounds])


def _tell(error: BaseException) -> str:
    return str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"


def as_json(measured: Measured) -> dict[str, Any]:
    """All that was measured, each round of it."""
    return {
        "experiment": measured.experiment,
        "seconds": round(measured.seconds, 1),
        "rounds": measured.rounds,
        "failures": measured.failures,
    }
