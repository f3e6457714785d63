"""The result as a table for people and as JSON for machines."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.model import Better, Result, Spread, Verdict
from benchmarks.runner import Bench, Measured, as_json

BUSY = 0.5
"""Load average from which on the machine is not ours alone."""
STYLES = {
    Verdict.GOAL: "green",
    Verdict.ASK: "yellow",
    Verdict.MISS: "bold red",
    Verdict.FAILED: "bold red",
    Verdict.SKIPPED: "dim",
    Verdict.INFO: "dim",
}


def show(console: Console, results: Sequence[Result], bench: Bench) -> None:
    """Print the table and, below it, why rows have no number."""
    table = Table(
        title=f"{bench.rounds} interleaved rounds of {bench.seconds:g} s, medians; ratio and its range decide",
        title_justify="left",
    )
    for column in ("row", "against"):
        table.add_column(column, overflow="fold")
    for column in ("ours", "peer", "ratio", "range", "ask", "goal"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for result in results:
        row, sign = result.row, "≥" if result.row.better is Better.HIGHER else "≤"
        decides = result.ratio or (result.ours if row.peer is None else None)
        table.add_row(
            row.what,
            row.against,
            _number(result.ours, row.unit),
            _number(result.peer, row.unit),
            "" if result.ratio is None else _short(result.ratio.median),
            "" if decides is None else f"{_short(decides.least)}–{_short(decides.greatest)}",
            "" if row.ask is None else f"{sign} {row.ask:g}",
            "" if row.goal is None else f"{sign} {row.goal:g}",
            f"[{STYLES[result.verdict]}]{result.verdict.value}[/]",
        )
    console.print(table)
    if bench.load_before > BUSY:
        console.print(
            f"The load average was {bench.load_before:.1f} before the first experiment: something else was running,"
            " so that the ranges are wide and the absolute numbers low.",
            style="yellow",
        )
    reasons = dict.fromkeys(
        (result.row.experiment, result.verdict, result.reason) for result in results if result.reason
    )
    for experiment, verdict, reason in reasons:
        console.print(f"{verdict.value}: {experiment}: {reason}", markup=False, highlight=False)


def document(results: Sequence[Result], measured: Sequence[Measured], bench: Bench) -> dict[str, Any]:
    """Everything that was measured, and on what."""
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "sqlite": sqlite3.sqlite_version,
            "load_before": bench.load_before,
        },
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "full": bench.full,
        "rows": [asdict(result) for result in results],
        "experiments": [as_json(one) for one in measured],
    }


def _number(value: Spread | None, unit: str) -> str:
    return "" if value is None else f"{_short(value.median)} {unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
