"""How long judging takes, and whether history slows it down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.history import fill
from benchmarks.model import Numbers
from benchmarks.peers.raw_sqlite import create
from benchmarks.processes import run_json
from benchmarks.runner import Bench, Sides

JOURNEYS = 5_000_000
STAGES = 10_000


@contextlib.contextmanager
def of_due(bench: Bench) -> Iterator[Sides]:
    """Judging what is due in a store that holds nothing else."""
    path = bench.scratch / "judging.db"
    create(path)
    yield {"fresh": lambda: judge(path)}


@contextlib.contextmanager
def of_history(bench: Bench) -> Iterator[Sides]:
    """The same beside millions of journeys that were judged long ago."""
    fresh, full = bench.scratch / "fresh.db", bench.scratch / "full.db"
    create(fresh)
    create(full)
    fill(full, JOURNEYS)
    yield {"fresh": lambda: judge(fresh), "full": lambda: judge(full)}


def judge(path: Path) -> Numbers:
    """Add stages that are due to a store and have them judged."""
    return run_json("ours.judging", {"database": str(path), "stages": STAGES})
