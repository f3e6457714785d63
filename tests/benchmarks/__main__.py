"""`python -m benchmarks`: measure, print the table, write JSON; with `--check` a missed ask is exit code 1."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.experiments.catalogue import EXPERIMENTS
from benchmarks.model import Verdict
from benchmarks.processes import PROJECT, scratch
from benchmarks.report import document, show
from benchmarks.runner import Bench, run
from benchmarks.targets import ROWS

NAMES = tuple(experiment.name for experiment in EXPERIMENTS)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure Booking Monitor against its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="how long a side is measured in a round (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of one second: does it run, not how fast is it"
    )
    parser.add_argument(
        "--full", action="store_true", help="also what needs 5 million journeys: minutes, and gigabytes"
    )
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="NAME", help=f"an experiment, repeatable: {', '.join(NAMES)}"
    )
    parser.add_argument("--check", action="store_true", help="exit code 1 when an ask is missed or a row failed")
    parser.add_argument(
        "--json",
        type=Path,
        default=PROJECT / "build" / "bench.json",
        help="where to write JSON (default: build/bench.json)",
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds is at least 1 and --seconds more than 0")
    return options


def main(arguments: list[str]) -> int:
    """Run what was asked for."""
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    progress = Console(stderr=True)
    measured = []
    with scratch() as directory:
        bench = Bench(
            directory,
            rounds=2 if options.quick else options.rounds,
            seconds=1.0 if options.quick else options.seconds,
            full=options.full,
            load_before=os.getloadavg()[0],
        )
        for experiment in EXPERIMENTS:
            if options.only and experiment.name not in options.only:
                continue
            rows = [row for row in ROWS if row.experiment == experiment.name]
            measured.append(
                run(experiment, rows, bench, lambda text: progress.print(text, style="dim", highlight=False))
            )
    results = [result for one in measured for result in one.results]
    show(console, results, bench)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document(results, measured, bench), indent=2) + "\n", encoding="utf-8")
    missed = any(result.verdict in (Verdict.MISS, Verdict.FAILED) for result in results)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
